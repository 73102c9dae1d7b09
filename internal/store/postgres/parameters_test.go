// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// sessionSettings are what a session has, as the server says.
const sessionSettings = `
SELECT current_setting('DateStyle') || ';' || current_setting('standard_conforming_strings') || ';' ||
       current_setting('client_encoding') || ';' || current_setting('TimeZone') || ';' || current_setting('work_mem')`

func TestASessionIsPinnedWhateverDSNRoleAndDatabaseSet(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	role, database := names(t, admin)
	dsn := testenv.Role(t, admin)
	other, _ := names(t, dsn)
	pool := connect(t, admin)
	for _, setting := range []string{"DateStyle = 'German, DMY'", "standard_conforming_strings = off", "client_encoding = LATIN1", "TimeZone = 'Asia/Tokyo'"} {
		run(t, pool, "ALTER DATABASE "+database+" SET "+setting)
		run(t, pool, "ALTER ROLE "+other+" SET "+setting)
	}
	for name, parameter := range map[string]string{
		"nothing in the DSN": "work_mem=128kB",
		"parameters in the DSN": "work_mem=128kB&DATESTYLE=SQL,DMY&Standard_Conforming_Strings=off&Client_Encoding=LATIN1&TimeZone=Asia/Tokyo" +
			"&keepalives=1&keepalives_idle=30&gssencmode=prefer&load_balance_hosts=random&tcp_user_timeout=5000",
		"options in the DSN": "options=-c%20datestyle%3DGerman%20--standard-conforming-strings%3Doff%20-cclient_encoding%3DLATIN1%20-c%20work_mem%3D128kB",
	} {
		for of, dsn := range map[string]string{role: admin, other: dsn} {
			got := value[string](t, connect(t, with(dsn, parameter)), sessionSettings)
			if want := "ISO, MDY;on;UTF8;UTC;128kB"; got != want {
				t.Errorf("%s, role %s: the session has %s, want %s", name, of, got, want)
			}
		}
	}
}

func TestAParameterThatTheServerRefusesIsReportedWithoutItsValue(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	weak := testenv.Role(t, admin)
	const canary = "canary7"
	for name, test := range map[string]struct{ dsn, parameter, want string }{
		"unknown to this version": {admin, "transaction_timeout_of_" + canary + "=3", "a parameter that the server does not know (SQLSTATE 42704); remove it"},
		"of the server alone":     {admin, "shared_buffers=1", "only the server's own configuration may set (shared_buffers, SQLSTATE 55P02)"},
		"with a wrong value":      {admin, "work_mem=" + canary, "a value that the server does not take (work_mem, SQLSTATE 22023)"},
		"of a superuser":          {weak, "log_statement=all", "the role may not set (log_statement, SQLSTATE 42501)"},
		"no option":               {admin, "options=--" + canary, "options that the server does not understand (SQLSTATE 42601)"},
	} {
		s := open(t, quick(with(test.dsn, test.parameter)))
		err := s.Migrate(t.Context())
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

func TestADSNWithParametersOfOtherDriversIsRejectedAtOpening(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"postgres://u@h/db?schema=canary7", "host=h user=u schema=canary7"} {
		_, err := Open(quick(dsn))
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "schema (write search_path=SCHEMA)") || strings.Contains(err.Error(), "canary7") {
			t.Errorf("%s: got %v", dsn, err)
		}
	}
}

func TestPinnedSettingsPassThroughPgBouncerOthersAreReported(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	for _, setting := range []string{"DateStyle = 'German, DMY'", "standard_conforming_strings = off", "client_encoding = LATIN1", "TimeZone = 'Asia/Tokyo'"} {
		run(t, pool, "ALTER ROLE "+role+" SET "+setting)
	}
	pooler, err := testenv.StartPgBouncer(t.Context(), dsn, "ignore_startup_parameters = search_path")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Stop(); err != nil {
			t.Error(err)
		}
	})
	through, err := pooler.DSN("default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	got := value[string](t, connect(t, with(through, "keepalives=1&datestyle=SQL")), sessionSettings)
	if want := "ISO, MDY;on;UTF8;UTC;"; !strings.HasPrefix(got, want) {
		t.Errorf("the session has %s, want %s", got, want)
	}
	err = open(t, quick(with(through, "work_mem=64kB"))).Migrate(t.Context())
	if want := "the pooler before the server does not take (work_mem, SQLSTATE 08P01)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
