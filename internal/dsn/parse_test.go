// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const canary = "cAnAry7"

// forms are one parameter in a URL and in keywords.
func forms(name, value string) []string {
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)
	return []string{
		"postgres://u:" + canary + "@h/db?" + url.Values{name: {value}}.Encode(),
		"host=h user=u password=" + canary + " " + name + "='" + quoted + "'",
	}
}

// Every parameter of libpq 18 and before is sorted: https://www.postgresql.org/docs/current/libpq-connect.html
func TestEveryParameterOfLibpqIsSorted(t *testing.T) {
	const (
		taken   = "" // by pgx
		dropped = "dropped"
		sent    = "sent"
	)
	for name, want := range map[string][2]string{ // a value, and what comes of it: a class, or the words of the refusal
		"host": {"h", taken}, "port": {"5432", taken}, "dbname": {"d", taken}, "user": {"u", taken}, "password": {canary, taken},
		"hostaddr": {"192.0.2.1", "hostaddr (write the address as host)"},
		"passfile": {"/none", taken}, "require_auth": {"scram-sha-256", taken}, "channel_binding": {"prefer", taken},
		"connect_timeout": {"3", taken}, "client_encoding": {"UTF8", sent}, "options": {"-c work_mem=64kB", sent},
		"application_name": {"a", sent}, "fallback_application_name": {"a", dropped},
		"keepalives": {"1", dropped}, "keepalives_idle": {"30", dropped}, "keepalives_interval": {"10", dropped},
		"keepalives_count": {"3", dropped}, "tcp_user_timeout": {"1000", dropped},
		"replication": {"database", "replication (a replication connection"},
		"gssencmode":  {"prefer", dropped}, "gssdelegation": {"0", dropped}, "gsslib": {"gssapi", dropped},
		"krbsrvname": {"postgres", taken}, "requiressl": {"1", "requiressl (write sslmode=require)"},
		"sslmode": {"disable", taken}, "sslnegotiation": {"postgres", taken}, "sslcompression": {"0", dropped},
		"sslcert": {"", taken}, "sslkey": {"", taken}, "sslpassword": {canary, taken}, "sslcertmode": {"allow", taken},
		"sslrootcert": {"", taken}, "sslsni": {"1", taken},
		"sslkeylogfile":            {"/" + canary, "sslkeylogfile (TLS keys are not logged"},
		"sslcrl":                   {"/" + canary, "sslcrl (pgx reads no revocation lists"},
		"sslcrldir":                {"/" + canary, "sslcrldir (pgx reads no revocation lists"},
		"requirepeer":              {"postgres", "requirepeer (pgx does not check"},
		"ssl_min_protocol_version": {"TLSv1.3", "ssl_min_protocol_version (connections have TLS 1.2"},
		"ssl_max_protocol_version": {"TLSv1.2", "ssl_max_protocol_version (connections have TLS 1.2"},
		"min_protocol_version":     {"3.0", taken}, "max_protocol_version": {"3.2", taken},
		"scram_client_key": {canary, "scram_client_key (write password)"}, "scram_server_key": {canary, "scram_server_key (write password)"},
		"servicefile": {"/none", taken}, "target_session_attrs": {"any", taken},
		"load_balance_hosts": {"random", dropped}, "tty": {"", dropped}, "authtype": {"", dropped},
		"oauth_issuer": {canary, "oauth_issuer (pgx does not log in by OAuth"}, "oauth_client_id": {canary, "oauth_client_id ("},
		"oauth_client_secret": {canary, "oauth_client_secret ("}, "oauth_scope": {canary, "oauth_scope ("},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dsn := range forms(name, want[0]) {
				config, err := Parse(dsn)
				switch want[1] {
				case taken, dropped, sent:
					if err != nil {
						t.Fatalf("%s: %v", dsn, err)
					}
					if _, isSent := config.ConnConfig.RuntimeParams[name]; isSent != (want[1] == sent) {
						t.Errorf("%s: it is sent: %v", dsn, isSent)
					}
				default:
					isRefused(t, dsn, err, want[1])
				}
			}
		})
	}
}

// isRefused checks that a DSN is refused in these words, without any value.
func isRefused(t *testing.T, dsn string, err error, words string) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), canary) {
		t.Errorf("%s: got %v, want a refusal that says %q", dsn, err, words)
	}
}

func TestParametersOfOtherDriversAreRefusedByName(t *testing.T) {
	for name, want := range map[string][2]string{
		"Prisma's schema":                    {"schema", "schema (write search_path=SCHEMA)"},
		"JDBC's schema":                      {"currentSchema", "currentSchema (write search_path=SCHEMA)"},
		"Rails' schema":                      {"schema_search_path", "schema_search_path (write search_path=SCHEMA)"},
		"Prisma's pooler":                    {"pgbouncer", "pgbouncer (write default_query_exec_mode=exec)"},
		"Prisma's limit":                     {"connection_limit", "connection_limit (set the size of the pool by --database-max-connections)"},
		"Prisma's time for the pool":         {"pool_timeout", "the prefix pool_ ("},
		"SQLAlchemy's pool":                  {"pool_size", "the prefix pool_ ("},
		"Rails' pool":                        {"pool", "pool (set the size"},
		"Django's age of connections":        {"conn_max_age", "--database-connection-lifetime"},
		"Prisma's TLS":                       {"sslaccept", "sslaccept (write sslmode="},
		"JDBC's TLS by keyword":              {"ssl_mode", "ssl_mode (write sslmode="},
		"JDBC's prepared statements":         {"prepareThreshold", "prepareThreshold (write default_query_exec_mode=exec)"},
		"lib/pq's certificates in the DSN":   {"sslinline", "sslinline (write files"},
		"Npgsql's user":                      {"Username", "username (write user)"},
		"a name in capitals":                 {"PASSWORD", "password (write its name in lower case)"},
		"a name with one capital":            {"Host", "host (write its name in lower case)"},
		"a refused name in capitals":         {"SSLCRL", "sslcrl (pgx reads no"},
		"options in capitals":                {"Options", "options (write its name in lower case)"},
		"encryption by GSSAPI":               {"gssencmode", "gssencmode (pgx does not encrypt"},
		"a name that no setting can have":    {"x&" + canary, "one whose name cannot be a setting"},
		"a name that begins like a password": {"1" + canary, "one whose name cannot be a setting"},
	} {
		t.Run(name, func(t *testing.T) {
			value := canary
			if want[0] == "gssencmode" {
				value = "require"
			}
			for _, dsn := range forms(want[0], value) {
				_, err := Parse(dsn)
				isRefused(t, dsn, err, want[1])
			}
		})
	}
}

func TestSettingsOfTheServerAreSent(t *testing.T) {
	for _, name := range []string{
		"work_mem", "statement_timeout", "lock_timeout", "search_path", "TimeZone", "IntervalStyle", "my.setting", "row_security",
		"tcp_keepalives_idle", "default_transaction_read_only",
	} {
		for _, dsn := range forms(name, "1") {
			config, err := Parse(dsn)
			if err != nil {
				t.Errorf("%s: %v", dsn, err)
			} else if config.ConnConfig.RuntimeParams[name] != "1" {
				t.Errorf("%s sends %v", dsn, config.ConnConfig.RuntimeParams)
			}
		}
	}
}

func TestAServiceFileIsTreatedLikeTheDSN(t *testing.T) {
	file := filepath.Join(t.TempDir(), "services")
	text := "[good]\nhost=h\nkeepalives=1\nwork_mem=64kB\n[bad]\nhost=h\nschema=" + canary + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := Parse("service=good servicefile=" + file)
	if err != nil {
		t.Fatal(err)
	}
	params := config.ConnConfig.RuntimeParams
	if _, isSent := params["keepalives"]; isSent || params["work_mem"] != "64kB" {
		t.Errorf("it sends %v", params)
	}
	_, err = Parse("service=bad servicefile=" + file)
	isRefused(t, "a service", err, "schema (")
}

func TestAllRefusedParametersAreReportedAtOnce(t *testing.T) {
	_, err := Parse("host=h schema=" + canary + " pgbouncer=true keepalives=1")
	isRefused(t, "two", err, "schema (")
	isRefused(t, "two", err, "pgbouncer (")
	if strings.Contains(err.Error(), "keepalives") {
		t.Errorf("a dropped one is refused: %v", err)
	}
	if _, err := Parse("host=h pgbouncer=false sslcrl='' replication=off"); err != nil {
		t.Errorf("what turns nothing on is refused: %v", err)
	}
}

func TestAURLMayHaveSSLTrue(t *testing.T) {
	config, err := Parse("postgres://u@h/db?ssl=true")
	if err != nil || config.ConnConfig.TLSConfig == nil || len(config.ConnConfig.Fallbacks) != 0 {
		t.Errorf("ssl=true is not sslmode=require: %v", err)
	}
	_, err = Parse("postgres://u@h/db?ssl=false")
	isRefused(t, "ssl=false", err, "ssl (write sslmode=")
}
