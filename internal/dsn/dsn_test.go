// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

const goodDSN = "postgres://alice:" + canary + "@db:5432/users?sslmode=disable"

func TestMask(t *testing.T) {
	for name, tt := range map[string]struct{ dsn, want string }{
		"nothing":                      {"", ""},
		"white space":                  {" \n", ""},
		"a URL":                        {"postgres://alice:" + canary + "@db:5432/users?sslmode=require", "postgres://alice:***@db:5432/users?sslmode=require"},
		"the longer scheme":            {"postgresql://alice:" + canary + "@db/users", "postgresql://alice:***@db/users"},
		"a URL without password":       {"postgres://alice@db/users", "postgres://alice@db/users"},
		"a URL without user":           {"postgres://db", "postgres://db"},
		"a URL with a password alone":  {"postgres://:" + canary + "@db", "postgres://:***@db"},
		"several hosts in a URL":       {"postgres://alice:" + canary + "@a:1,b,[::1]:2/users?target_session_attrs=read-write", "postgres://alice:***@a:1,b,[::1]:2/users?target_session_attrs=read-write"},
		"a percent-encoded password":   {"postgres://alice:" + canary + "%40%2F%3A@db/users", "postgres://alice:***@db/users"},
		"a percent-encoded user":       {"postgres://alice%3A" + canary + "@db/users", "postgres://***@db/users"},
		"a colon in the password":      {"postgres://alice:a:" + canary + "@db/users", "postgres://alice:***@db/users"},
		"an at sign in the password":   {"postgres://alice:a@" + canary + "@db/users", unreadable},
		"a slash in the password":      {"postgres://alice:12/" + canary + "@db/users", unreadable},
		"a question mark in it":        {"postgres://alice:12?" + canary + "@db/users", unreadable},
		"a hash sign in it":            {"postgres://alice:12#" + canary + "@db/users", unreadable},
		"a URL without its host":       {"postgres://alice:" + canary, unreadable},
		"a password in the query":      {"postgres://db/users?password=" + canary + "&sslmode=disable", "postgres://db/users?password=***&sslmode=disable"},
		"an encoded key in the query":  {"postgres://db/users?pass%77ord=" + canary, "postgres://db/users?***"},
		"an at sign in the query":      {"postgres://db:5432?password=" + canary + "@x", unreadable},
		"an unknown key in the query":  {"postgres://db?" + canary + "=1&x=" + canary, "postgres://db?***&***"},
		"a strange value in the query": {"postgres://db?sslmode=" + canary + "&application_name=a%20" + canary, "postgres://db?sslmode=***&application_name=***"},
		"keys and files in the query": {
			"postgres://db?sslpassword=" + canary + "&sslkey=/" + canary + "&passfile=/" + canary + "&options=-c%20x%3D" + canary,
			"postgres://db?sslpassword=***&sslkey=***&passfile=***&options=***",
		},
		"keywords":                        {"host=db port=5432 user=alice password=" + canary + " dbname=users sslmode=disable", "host=db port=5432 user=alice password=*** dbname=users sslmode=disable"},
		"several hosts in keywords":       {"host=a,b,/run/pg port=1,2, target_session_attrs=primary", "host=a,b,/run/pg port=1,2, target_session_attrs=primary"},
		"a quoted password with spaces":   {"password='a " + canary + "' host=db", "password=*** host=db"},
		"a quoted password with keywords": {"password=' user=" + canary + " ' host=db", "password=*** host=db"},
		"escaped quotes":                  {`password='it\'s ` + canary + ` \\' host=db`, "password=*** host=db"},
		"an escaped space":                {`password=it\ user=` + canary + ` host=db`, "password=*** host=db"},
		"spaces around the sign":          {"password = " + canary + "\thost = db", "password=*** host=db"},
		"an unquoted space":               {"password=a " + canary + " host=db", unreadable},
		"a doubled quote":                 {"password='it''" + canary + " x' host=db", unreadable},
		"an open quote":                   {"host=db password='" + canary, unreadable},
		"capitals are no keyword":         {"PASSWORD=" + canary + " host=db", "*** host=db"},
		"the rest of the keywords":        {"sslpassword=" + canary + " sslkey=" + canary + " passfile=" + canary + " options=" + canary + " service=" + canary, "sslpassword=*** sslkey=*** passfile=*** options=*** service=***"},
		"a user that is no name":          {"user='alice password=" + canary + "'", "user=***"},
		"parameters without effect":       {"host=db keepalives=1 keepalives_idle=30 gssencmode=prefer load_balance_hosts=random sslcompression=0", "host=db keepalives=1 keepalives_idle=30 gssencmode=prefer load_balance_hosts=random sslcompression=0"},
		"strange values of these":         {"postgres://db?keepalives=" + canary + "&gssencmode=" + canary + "&tcp_user_timeout=9" + canary + "&fallback_application_name=a%20" + canary, "postgres://db?keepalives=***&gssencmode=***&tcp_user_timeout=***&fallback_application_name=***"},
		"what pgx learnt later":           {"host=db require_auth=!none,scram-sha-256 sslsni=0 sslcertmode=require min_protocol_version=3.2 krbspn=" + canary, "host=db require_auth=!none,scram-sha-256 sslsni=0 sslcertmode=require min_protocol_version=3.2 krbspn=***"},
		"refused parameters":              {"host=db schema=" + canary + " sslcrl=/" + canary + " " + canary + "=1", "host=db *** sslcrl=*** ***"},
		"another scheme":                  {"mysql://alice:" + canary + "@db", unreadable},
		"no DSN at all":                   {canary, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Mask(tt.dsn); got != tt.want {
				t.Errorf("Mask(%s)\n  = %s\nwant %s", tt.dsn, got, tt.want)
			}
		})
	}
}

// A password shows in no position in which pgx takes it for one, whatever
// stands around it.
func FuzzMask(f *testing.F) {
	for _, s := range []string{"", "a", "x@y/", "12/", "1?", "&", "'", `\`, " user=", "=", "#", ",h:", "%", "\x00"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before, canary) || strings.Contains(after, canary) {
			return
		}
		password := before + canary + after
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		dsns := []string{
			"postgres://alice:" + password + "@db:5432/users?sslmode=disable",
			"host=db password='" + quoted + "' user=alice",
			"password = '" + quoted + "'",
		}
		if !strings.ContainsAny(before, "&") { // which begins the next parameter
			dsns = append(dsns, "postgres://alice@db:5432/users?password="+password)
		}
		for _, dsn := range dsns {
			if masked := Mask(dsn); strings.Contains(masked, canary) {
				t.Errorf("Mask(%q) = %q", dsn, masked)
			}
			if err := DSN(dsn).Check(); err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("Check(%q) = %v", dsn, err)
			}
		}
	})
}

// Whatever text is given for a DSN: what the driver takes for its password, and was written down just once, is not in the
// masked one; masking it again changes nothing that is shown; and errors hold nothing of it.
func FuzzDSN(f *testing.F) {
	for _, dsn := range []string{
		goodDSN, "host=db user=alice password=" + canary, "password='" + canary + `\'' host=db`, "postgres://alice:" + canary + "/x@db",
		"postgres://db?password=" + canary + "&host=x", "host=" + canary + " port=x", canary, "postgresql:///?password=" + canary,
		"password =\t" + canary + " sslmode=disable", "postgres://a:b@c@d/" + canary, "user=" + canary + " password=" + canary,
		"host=db keepalives=1 schema=" + canary + " password=" + canary, "postgres://a:" + canary + "@db?keepalives_idle=30&pgbouncer=true&" + canary + "=1",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		masked := Mask(dsn)
		if err := DSN(strings.TrimSpace(dsn)).Check(); err != nil {
			if strings.Contains(dsn, canary) && strings.Contains(err.Error(), canary) {
				t.Fatalf("Check(%q) = %v", dsn, err)
			}
			return
		}
		config, err := pgxpool.ParseConfig(strings.TrimSpace(dsn))
		if err != nil {
			t.Fatalf("Check lets %q pass: %v", dsn, err)
		}
		password := config.ConnConfig.Password
		// A short or repeated password may be shown as another part, and one that occurs in our own words proves nothing.
		if len(password) < 4 || strings.Count(dsn, password) != 1 || strings.Contains(unreadable+"password=", password) {
			return
		}
		if strings.Contains(masked, password) {
			t.Fatalf("Mask(%q) = %q, whose password is %q", dsn, masked, password)
		}
	})
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct{ dsn, says string }{
		"a URL is good":                   {goodDSN, ""},
		"keywords are good":               {"host=db user=alice password='a b' sslmode=verify-full", ""},
		"several hosts in a URL are good": {"postgres://a:" + canary + "@h1:1,h2:2/db?target_session_attrs=read-write", ""},
		"several hosts by keyword are":    {"host=h1,h2 port=1,2 target_session_attrs=primary", ""},
		"pgx's own parameters are good":   {goodDSN + "&default_query_exec_mode=exec&pool_max_conns=3", ""},
		"parameters without effect are":   {goodDSN + "&keepalives=1&gssencmode=prefer&load_balance_hosts=random", ""},
		"settings of the server are":      {goodDSN + "&work_mem=64MB&statement_timeout=3s", ""},
		"what pgx does not do":            {"host=h sslcrl=/" + canary, "sslcrl (pgx reads no revocation lists"},
		"another driver's schema":         {goodDSN + "&schema=" + canary, "schema (write search_path=SCHEMA)"},
		"another driver's pooler":         {goodDSN + "&pgbouncer=true", "pgbouncer (write default_query_exec_mode=exec)"},
		"a password in capitals":          {"host=h PASSWORD=" + canary, "password (write its name in lower case)"},
		"a strange certificate mode":      {"host=h sslcertmode=" + canary, "sslcertmode must be"},
		"a strange way to log in":         {"host=h require_auth=" + canary, "require_auth must be"},
		"a strange version":               {"host=h min_protocol_version=" + canary, "min_protocol_version and"},
		"a strange mode":                  {"host=h default_query_exec_mode=" + canary, "default_query_exec_mode must be"},
		"another scheme":                  {"mysql://a:" + canary + "@h/db?x=y", "must start with postgres://"},
		"a web address":                   {"https://" + canary + ".example.com/?a=b", "must start with postgres://"},
		"a password alone":                {canary, "neither a URL nor in keyword form"},
		"an open quote":                   {"password='" + canary, "neither a URL nor in keyword form"},
		"a stray percent sign":            {"postgres://a:" + canary + "%zz@h/db", "neither a URL nor in keyword form"},
		"a wrong sslmode":                 {"host=h sslmode=" + canary, "sslmode must be"},
		"a wrong port":                    {"postgres://a:" + canary + "/@h", "must be percent-encoded"},
		"three ports for two hosts":       {"host=a,b port=1,2,3", "one port, or one port per host"},
		"wrong session attributes":        {"host=h target_session_attrs=" + canary, "target_session_attrs must be"},
		"a CA file that is not there":     {"host=h sslrootcert=/" + canary, "cannot be read or used"},
		"a service that is not there":     {"service=" + canary, "service cannot be found"},
		"a pool of a strange size":        {"host=h pool_max_conns=" + canary, "pool_ parameters"},
	} {
		t.Run(name, func(t *testing.T) {
			err := DSN(tt.dsn).Check()
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("Check = %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("Check = %v, want one that says %q", err, tt.says)
			case err != nil && strings.Contains(err.Error(), canary):
				t.Errorf("the error quotes the DSN: %v", err)
			}
		})
	}
}

func TestFind(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(file, []byte(goodDSN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const other = "postgres://elsewhere/users"
	for name, tt := range map[string]struct {
		path, env string
		want      DSN
		fails     bool
	}{
		"is the file's, whatever the environment says": {path: file, env: other, want: goodDSN},
		"is the environment's":                         {env: " " + other + "\n", want: other},
		"is empty where there is none":                 {},
		"is none that pgx does not understand":         {env: "mysql://alice:" + canary + "@db", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(Variable, tt.env)
			got, err := Find(tt.path)
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("Find = %s, %v, want %s", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}
