// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"testing"
	"time"
)

func TestWhatASessionStartsWith(t *testing.T) {
	t.Setenv("PGCONNECT_TIMEOUT", "")
	for name, test := range map[string]struct {
		dsn     string
		params  map[string]string
		timeout time.Duration
	}{
		"a plain DSN": {
			"postgres://u@h/db",
			map[string]string{
				"timezone": "UTC", "search_path": "public, pg_temp", "application_name": "shardinguser-operator",
				"datestyle": "ISO, MDY", "standard_conforming_strings": "on", "client_encoding": "UTF8",
			},
			5 * time.Second,
		},
		"a time zone of another kind": {
			"postgres://u@h/db?TimeZone=Asia/Tokyo",
			map[string]string{"timezone": "UTC", "TimeZone": ""},
			5 * time.Second,
		},
		"a search_path, a name and a timeout of its own": {
			"host=h user=u search_path=accounts application_name=mine connect_timeout=9",
			map[string]string{"search_path": "accounts, pg_temp", "application_name": "mine"},
			9 * time.Second,
		},
		"a search_path in options": {
			"postgres://u@h/db?options=-c%20search_path%3Daccounts",
			map[string]string{"search_path": "accounts, pg_temp", "options": "", "timezone": "UTC"},
			5 * time.Second,
		},
		"pinned settings in other letters": {
			"host=h user=u DateStyle='German, DMY' STANDARD_CONFORMING_STRINGS=off Client_Encoding=LATIN1",
			map[string]string{
				"DateStyle": "", "STANDARD_CONFORMING_STRINGS": "", "Client_Encoding": "",
				"datestyle": "ISO, MDY", "standard_conforming_strings": "on", "client_encoding": "UTF8",
			},
			5 * time.Second,
		},
		"pinned settings in options": {
			"host=h user=u options='-c DateStyle=German -cwork_mem=64kB --standard-conforming-strings=off -d 1 -c timezone=Asia/Tokyo'",
			map[string]string{"options": "-cwork_mem=64kB -d 1", "datestyle": "ISO, MDY", "timezone": "UTC", "search_path": "public, pg_temp"},
			5 * time.Second,
		},
		"nothing but pinned settings in options": {
			`host=h user=u options='-c datestyle=SQL,\\ DMY'`,
			map[string]string{"options": "", "datestyle": "ISO, MDY"},
			5 * time.Second,
		},
		"options with spaces in a value": {
			`host=h user=u options='-c search_path=a,\\ b  --datestyle=SQL'`,
			map[string]string{"options": "", "search_path": "a, b, pg_temp"},
			5 * time.Second,
		},
		"a search_path in a value of options only": {
			"host=h user=u options='-c application_name=search_path'",
			map[string]string{"options": "-c application_name=search_path", "search_path": "public, pg_temp"},
			5 * time.Second,
		},
		"a search_path in options with dashes": {
			"host=h user=u options=--search-path=accounts",
			map[string]string{"options": "", "search_path": "accounts, pg_temp"},
			5 * time.Second,
		},
		"parameters of libpq without effect": {
			"postgres://u@h/db?keepalives=1&gssencmode=disable&work_mem=64kB",
			map[string]string{"keepalives": "", "gssencmode": "", "work_mem": "64kB"},
			5 * time.Second,
		},
		"parameters of pools": {
			"postgres://u@h/db?pool_max_conns=3",
			map[string]string{"pool_max_conns": ""},
			5 * time.Second,
		},
	} {
		config, err := connConfig(fixed(test.dsn))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for key, want := range test.params {
			if got := config.RuntimeParams[key]; got != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
		if config.ConnectTimeout != test.timeout {
			t.Errorf("%s: the timeout is %v, want %v", name, config.ConnectTimeout, test.timeout)
		}
	}
}

func TestThePoolIsAsTheContractHasItUnlessSettingsSayOtherwise(t *testing.T) {
	config, err := Settings{DSN: fixed("postgres://u@h/db?pool_max_conns=3")}.withDefaults().poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	if config.MaxConns != 25 || config.MinIdleConns != 5 || config.MaxConnLifetime != 5*time.Minute ||
		config.MaxConnIdleTime != time.Minute {
		t.Errorf("the pool is %+v", config)
	}
	config, err = Settings{DSN: fixed("postgres://u@h/db"), MaxConns: 2, MinIdleConns: -1}.withDefaults().poolConfig()
	if err != nil {
		t.Fatal(err)
	}
	if config.MaxConns != 2 || config.MinIdleConns != 0 {
		t.Errorf("the pool is %+v", config)
	}
}
