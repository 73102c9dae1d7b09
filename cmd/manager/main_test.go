// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/sharding-system/shardinguser-operator/internal/config"
)

func TestTheConfigurationPageDocumentsEachFlag(t *testing.T) {
	var help strings.Builder
	_, err := config.Load([]string{"--help"}, &help, func(flags *flag.FlagSet) { addOtherFlags(flags, &zap.Options{}) })
	if !errors.Is(err, pflag.ErrHelp) {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^  --([a-z-]+)`).FindAllStringSubmatch(help.String(), -1)
	if len(flags) < 50 {
		t.Fatalf("the help has %d flags; check the regular expression", len(flags))
	}
	for _, f := range flags {
		if !strings.Contains(string(page), "\n| `--"+f[1]+"` |") {
			t.Errorf("docs/configuration.md has no line for --%s", f[1])
		}
	}
}
