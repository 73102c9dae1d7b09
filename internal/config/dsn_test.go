// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

func TestADSNIsMaskedHoweverItIsPrinted(t *testing.T) {
	s := Settings{Database: Database{DSN: goodDSN}}
	var printed strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
		fmt.Fprintf(&printed, verb+"\n", s)
		fmt.Fprintf(&printed, verb+"\n", s.Database.DSN)
		fmt.Fprintf(&printed, verb+"\n", &s)
	}
	if err := json.NewEncoder(&printed).Encode(s); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("x", "dsn", s.Database.DSN)
	slog.New(slog.NewTextHandler(&printed, nil)).Info("x", "dsn", s.Database.DSN)
	for _, secret := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("the password shows as %s:\n%s", secret, printed.String())
		}
	}
	if string(s.Database.DSN) != goodDSN {
		t.Error("the DSN itself is masked")
	}
}

func TestARotatedDSNIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	pool, listen := filepath.Join(dir, "pool"), filepath.Join(dir, "listen")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(read func() (dsn.DSN, error), want string) {
		t.Helper()
		if got, err := read(); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", string(got), err, want)
		}
	}
	write(pool, "host=one\n")
	write(listen, "host=direct")

	d := Database{DSN: "host=one", DSNFile: pool, ListenDSNFile: listen, LoginDSNFile: listen}
	expect(d.CurrentListenDSN, "host=direct")
	expect(d.CurrentLoginDSN, "host=direct")
	write(listen, "host=other")
	expect(d.CurrentLoginDSN, "host=other")
	expect(d.CurrentDSN, "host=one")
	write(pool, "host=two")
	expect(d.CurrentDSN, "host=two")
	write(pool, "host="+canary+" sslmode=wrong")
	if _, err := d.CurrentDSN(); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("CurrentDSN = %v", err)
	}
	expect(Database{DSN: "host=fixed"}.CurrentDSN, "host=fixed")
}
