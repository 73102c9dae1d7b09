// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

func TestAnUnknownVariableIsWarnedOf(t *testing.T) {
	for name, tt := range map[string]struct{ variable, nearest string }{
		"a letter too many":                  {"SHARDINGUSER_BCRYPT_COSTS", "SHARDINGUSER_BCRYPT_COST"},
		"two letters in the wrong order":     {"SHARDINGUSER_POLL_INTREVAL", "SHARDINGUSER_POLL_INTERVAL"},
		"a setting in small letters":         {"shardinguser_bcrypt_cost", "SHARDINGUSER_BCRYPT_COST"},
		"the DSN with our prefix":            {"SHARDINGUSER_USER_DATABASE_DSN", "USER_DATABASE_DSN"},
		"a DSN that is a file's":             {"SHARDINGUSER_LISTEN_DSN", "SHARDINGUSER_LISTEN_DSN_FILE"},
		"another package's flag, misspelled": {"SHARDINGUSER_ZAP_DEVELL", "SHARDINGUSER_ZAP_DEVEL"},
		"a port without a Service":           {"SHARDINGUSER_METRICS_PORT", ""},
		"a Service's host without its port":  {"SHARDINGUSER_X_SERVICE_HOST", ""},
		"the prefix alone":                   {"SHARDINGUSER_", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := world{env: map[string]string{tt.variable: canary}}.load(t)
			if err != nil || len(got.Warnings) != 1 {
				t.Fatalf("Warnings = %q, %v, want one", got.Warnings, err)
			}
			warning := got.Warnings[0]
			if !strings.Contains(warning, "variable "+tt.variable+" is not a setting") || strings.Contains(warning, canary) ||
				!strings.Contains(warning, "did you mean "+tt.nearest) {
				t.Errorf("the warning is %q", warning)
			}
		})
	}
}

func TestVariablesThatAreNoMistakeAreNotWarnedOf(t *testing.T) {
	service := "SHARDINGUSER_CONTROLLER_MANAGER_LOGIN"
	got, err := world{env: map[string]string{
		"SHARDINGUSER_BCRYPT_COST": "12", "SHARDINGUSER_ZAP_DEVEL": "true", "SHARDINGUSER_OPERATOR_NAMESPACE": "accounts",
		"SHARDINGUSER_NOTHING": "", "OTHER_BCRYPT_COST": "1", "SHARDINGUSERS": "1", dsn.Variable: goodDSN,
		service + "_SERVICE_HOST": "10.0.0.1", service + "_SERVICE_PORT": "443", service + "_SERVICE_PORT_HTTPS": "443",
		service + "_PORT": "tcp://10.0.0.1:443", service + "_PORT_443_TCP": "tcp://10.0.0.1:443",
		service + "_PORT_443_TCP_PROTO": "tcp", service + "_PORT_443_TCP_PORT": "443", service + "_PORT_443_TCP_ADDR": "10.0.0.1",
		"SHARDINGUSER_DNS_SERVICE_HOST": "10.0.0.2", "SHARDINGUSER_DNS_SERVICE_PORT": "53",
		"SHARDINGUSER_DNS_PORT_53_UDP_ADDR": "10.0.0.2", "SHARDINGUSER_DNS_PORT_53_SCTP": "sctp://10.0.0.2:53",
	}}.load(t)
	if err != nil || len(got.Warnings) != 0 {
		t.Errorf("Warnings = %q, %v, want none", got.Warnings, err)
	}
}

func TestAVariableWithAStrangeNameIsWarnedOfWithoutItsName(t *testing.T) {
	s := defaults()
	l := newLoader(&s, flag.NewFlagSet("", flag.ContinueOnError))
	warnings := l.unknownVariables([]string{"SHARDINGUSER_" + goodDSN + "=x", "SHARDINGUSER_a b=x", "SHARDINGUSER_" + strings.Repeat("x", 99) + "=1"})
	if len(warnings) == 0 || slices.ContainsFunc(warnings, func(w string) bool {
		return strings.Contains(w, canary) || strings.Contains(w, "a b") || strings.Contains(w, "xxx")
	}) {
		t.Errorf("Warnings = %q", warnings)
	}
}
