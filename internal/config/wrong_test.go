// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// args and file are worlds with these arguments, and with this settings file.
func args(args ...string) world { return world{args: args} }
func file(text string) world    { return world{files: map[string]string{defaultConfigFile: text}} }

type wrongCase struct {
	world
	says []string
}

func runWrong(t *testing.T, cases map[string]wrongCase) {
	t.Helper()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := tt.load(t)
			if err == nil {
				t.Fatal("no error")
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("Load = %v\nwhich does not say %q", err, says)
				}
			}
		})
	}
}

func TestWrongSettings(t *testing.T) {
	runWrong(t, map[string]wrongCase{
		"a cost too low, by flag":                   {args("--bcrypt-cost=9"), []string{`flag --bcrypt-cost: "9" is not a whole number from 10 to 14`}},
		"a cost too high, by environment":           {world{env: map[string]string{"SHARDINGUSER_BCRYPT_COST": "15"}}, []string{`environment variable SHARDINGUSER_BCRYPT_COST: "15" is not a whole number from 10 to 14`}},
		"a cost too high, by file":                  {file("operator: {bcrypt-cost: 15}"), []string{`operator.bcrypt-cost in configs/manager.json: "15" is not a whole number from 10 to 14`}},
		"a minimum over bcrypt's 72":                {args("--password-min-length=73"), []string{"from 1 to 72"}},
		"no cores":                                  {args("--hash-cores=0"), []string{"from 1 to 1024"}},
		"a duration without unit":                   {args("--resync-interval=30"), []string{`"30" is not a duration of at least 1s, such as 30s or 5m`}},
		"a negative duration":                       {args("--graceful-shutdown-timeout=-1s"), []string{"at least 0s"}},
		"an address without port":                   {args("--metrics-bind-address=localhost"), []string{`"localhost" is not an address such as :8081`}},
		"a port over 65535":                         {args("--metrics-bind-address=:65536"), []string{"is not an address"}},
		"a port by name":                            {args("--metrics-bind-address=:https"), []string{"is not an address"}},
		"an empty address":                          {args("--health-probe-bind-address="), []string{`"" is not an address`}},
		"a URL for an address":                      {args("--metrics-bind-address=http://x:80"), []string{"*** is not an address"}},
		"one address for two":                       {args("--metrics-bind-address=127.0.0.1:8081"), []string{"--metrics-bind-address (127.0.0.1:8081) and --health-probe-bind-address (:8081) are the same address"}},
		"profiles where the probes are":             {args("--pprof-bind-address=:8081"), []string{"--health-probe-bind-address (:8081) and --pprof-bind-address (:8081) are the same address"}},
		"logins where the probes are":               {args("--login-bind-address=:8081"), []string{"--health-probe-bind-address (:8081) and --login-bind-address (:8081) are the same address"}},
		"no attempts before a lock":                 {args("--lockout-attempts=0"), []string{"from 1 to 1000"}},
		"a fallback that is neither on nor off":     {args("--fallback=maybe"), []string{`"maybe" is not on or off`}},
		"notifications that are neither on nor off": {args("--notifications=trigger"), []string{`"trigger" is not on or off`}},
		"a lock for no time":                        {args("--lockout-duration=0"), []string{"at least 1s"}},
		"too few connections":                       {args("--login-max-connections=15"), []string{"from 16 to 1000000"}},
		"a proxy by name":                           {args("--login-trusted-proxies=proxy"), []string{`"proxy" is not a comma-separated list of networks`}},
		"a proxy with a zone":                       {args("--login-trusted-proxies=fe80::1%eth0"), []string{"is not a comma-separated list of networks"}},
		"logins without certificate":                {args("--login-tls-cert-dir=."), []string{`flag --login-tls-cert-dir: cannot read tls.crt in the folder "."`}},
		"a signing secret that is missing":          {args("--jwt-secret-file=none"), []string{"flag --jwt-secret-file: cannot read the file of the signing secret: no such file or directory"}},
		"a previous secret without a current one": {args("--jwt-previous-secret-file=none"), []string{
			"flag --jwt-previous-secret-file: a previous signing secret is set, but no current one; set --jwt-secret-file or --jwt-signing-key-file too",
		}},
		"an end without a previous secret": {args("--jwt-previous-secret-until=2027-01-31T00:00:00Z"), []string{"set --jwt-previous-secret-file too"}},
		"an end that is not a time":        {args("--jwt-previous-secret-until=tomorrow"), []string{`"tomorrow" is not a time such as 2027-01-31T00:00:00Z`}},
		"a record that is too small":       {args("--audit-max-size=4KiB"), []string{`"4KiB" is not a size of at least 1MiB`}},
		"a record of an unknown unit":      {args("--audit-max-size=2GB"), []string{`"2GB" is not a size of at least 1MiB`}},
		"a system in capitals":             {args("--system=Orders"), []string{`"Orders" is not the name of a system`}},
		"a namespace in capitals":          {args("--watch-namespaces=a,Team"), []string{`"a,Team" is not a comma-separated list of names`}},
		"a lease in no namespace":          {args("--leader-election-namespace=a_b"), []string{"is not the name of a namespace"}},
	})
}

func TestWrongCombinationsOfSettings(t *testing.T) {
	runWrong(t, map[string]wrongCase{
		"default users of another kind":           {args("--default-users=on"), []string{`flag --default-users: "on" is not one of off, generated, sharding`}},
		"default users in no namespace":           {args("--default-users-namespace=a_b"), []string{"is not the name of a namespace"}},
		"default users in an unwatched namespace": {args("--default-users=generated", "--default-users-namespace=b", "--watch-namespaces=a,c"), []string{"flag --default-users-namespace: the namespace b of the default users is not watched, since --watch-namespaces (a,c) does not list it"}},
		"a manager in an unwatched namespace":     {args("--default-users=generated", "--leader-election-namespace=b", "--watch-namespaces=a"), []string{"flag --default-users: the namespace b of the default users is not watched"}},
		"well-known passwords":                    {args("--default-users=sharding", "--default-users-take-over=on"), []string{"flag --default-users-take-over: accounts can only be adopted with generated passwords: set --default-users=generated"}},
		"a take-over without default users":       {args("--default-users-take-over=on"), []string{"flag --default-users-take-over: accounts can only be adopted with generated passwords"}},
		"well-known but too short":                {args("--default-users=sharding", "--password-min-length=9"), []string{"flag --default-users: the sharding system's passwords are shorter than the 9 characters of --password-min-length"}},
		"a rate that is not a number":             {args("--kube-api-qps=NaN"), []string{`"NaN" is not 0 or a number from 1 to 10000`}},
		"more idle connections than all":          {args("--database-max-connections=3", "--database-idle-connections=4"), []string{"flag --database-idle-connections: 4 idle connections are more than the 3"}},
	})
}

func TestWrongSyntaxOfSettings(t *testing.T) {
	runWrong(t, map[string]wrongCase{
		"a value that is not a boolean":    {args("--leader-elect=perhaps"), []string{`flag --leader-elect: "perhaps" is not true or false`}},
		"another package's boolean":        {args("--zap-devel=perhaps"), []string{`flag --zap-devel: "perhaps" is not true or false`}},
		"a boolean's value after a space":  {args("--leader-elect", "false"), []string{"argument 2 is not a flag or the value of one", "--name=value"}},
		"a word without a flag":            {args("serve"), []string{"argument 1 is not a flag"}},
		"a flag without value":             {args("--bcrypt-cost"), []string{"flag --bcrypt-cost needs a value"}},
		"a flag that does not exist":       {args("--bcrypt-cots=12"), []string{"unknown flag --bcrypt-cots", "did you mean --bcrypt-cost?"}},
		"a letter":                         {args("-v"), []string{"unknown flag --v"}},
		"three dashes":                     {args("---bcrypt-cost=12"), []string{"an argument is not a flag"}},
		"a folder without certificate":     {args("--metrics-cert-dir=."), []string{`cannot read tls.crt in the folder ".": no such file or directory`, "cannot read tls.key"}},
		"a settings file that is missing":  {args("--config=there/is.none"), []string{`flag --config: cannot read the settings file "there/is.none": no such file or directory`}},
		"a missing one by environment":     {world{env: map[string]string{"SHARDINGUSER_CONFIG": "none"}}, []string{"environment variable SHARDINGUSER_CONFIG: cannot read the settings file"}},
		"a folder for a settings file":     {args("--config=."), []string{"is a directory"}},
		"a settings file that is not YAML": {file("a: b\nc: - d: [\n"), []string{"settings file configs/manager.json: it is neither JSON nor YAML (line 2)"}},
		"a settings file that is a list":   {file("[1]"), []string{"no keys and values"}},
		"an unknown key in the file":       {file("operator: {bcrypt-cots: 12}"), []string{"operator.bcrypt-cots in configs/manager.json: no such setting; did you mean bcrypt-cost?"}},
		"a number in quotes":               {file(`operator: {bcrypt-cost: "12"}`), []string{"operator.bcrypt-cost in configs/manager.json: the value is not a number without quotes"}},
		"a list for a number":              {file("operator: {bcrypt-cost: [12]}"), []string{"is not a number"}},
		"nothing for a number":             {file("operator: {bcrypt-cost: }"), []string{"is not a number"}},
		"a fraction for a whole number":    {file("operator: {bcrypt-cost: 10.5}"), []string{`"10.5" is not a whole number`}},
		"a text for a boolean":             {file(`operator: {leader-elect: "true"}`), []string{"is not true or false without quotes"}},
		"a boolean for a name in a list":   {file("operator: {watch-namespaces: [no]}"), []string{"is not a list of strings"}},
		"an object for a text":             {file("operator: {metrics-bind-address: {port: 1}}"), []string{"is not a string"}},
		"a text for a section":             {file("operator: x"), []string{"operator in configs/manager.json: the value is not a section"}},
		"a file that names another":        {file("operator: {config: x}"), []string{"cannot name another"}},
	})
}

func TestWrongDSNSettings(t *testing.T) {
	runWrong(t, map[string]wrongCase{
		"a number for the DSN":                 {file("security: {user_database_dsn: 5}"), []string{"security.user_database_dsn in configs/manager.json: the value is not a string"}},
		"a DSN file that is missing":           {args("--user-database-dsn-file=none"), []string{"flag --user-database-dsn-file: cannot read the DSN file none: no such file or directory"}},
		"a DSN file that is empty":             {world{files: map[string]string{"dsn": " \n"}, args: []string{"--user-database-dsn-file=dsn"}}, []string{"the DSN file dsn is empty: write a DSN such as postgres://"}},
		"a listening DSN without database":     {world{files: map[string]string{"dsn": goodDSN}, args: []string{"--listen-dsn-file=dsn"}}, []string{"flag --listen-dsn-file: no database is set to listen to"}},
		"a listening DSN file that is missing": {world{env: map[string]string{dsn.Variable: goodDSN}, args: []string{"--listen-dsn-file=none"}}, []string{"flag --listen-dsn-file: cannot read the DSN file none"}},
		"a login role alone":                   {world{files: map[string]string{"dsn": goodDSN}, args: []string{"--login-database-dsn-file=dsn"}}, []string{"flag --login-database-dsn-file: the login role needs a controller role; set the controller's DSN by --user-database-dsn-file"}},
		"a login role without logins":          {world{files: map[string]string{"dsn": goodDSN}, env: map[string]string{dsn.Variable: goodDSN, "SHARDINGUSER_LOGIN_DATABASE_DSN_FILE": "dsn"}, args: []string{"--login-bind-address=0"}}, []string{"SHARDINGUSER_LOGIN_DATABASE_DSN_FILE: the login role is unused while --login-bind-address is 0"}},
		"a login role that is the same":        {world{files: map[string]string{"dsn": goodDSN}, env: map[string]string{dsn.Variable: goodDSN}, args: []string{"--login-database-dsn-file=dsn"}}, []string{"flag --login-database-dsn-file: the file contains the controller's DSN"}},
		"a login DSN file that is missing":     {world{env: map[string]string{dsn.Variable: goodDSN}, args: []string{"--login-database-dsn-file=none"}}, []string{"flag --login-database-dsn-file: cannot read the DSN file none"}},
		"a login pool without a role":          {args("--login-database-max-connections=3"), []string{"flag --login-database-max-connections: logins have no connection pool", "--login-database-dsn-file"}},
		"a login DSN for a flag":               {args("--login-database-dsn=x"), []string{"never a flag's value; write it to a file and set --login-database-dsn-file"}},
		"several at once": {
			world{
				files: map[string]string{defaultConfigFile: "operator: {hash-cores: 0, x: 1}"},
				env:   map[string]string{"SHARDINGUSER_POLL_INTERVAL": "soon", dsn.Variable: "nonsense"},
				args:  []string{"--bcrypt-cost=9"},
			},
			[]string{"operator.hash-cores", "operator.x ", "SHARDINGUSER_POLL_INTERVAL", "flag --bcrypt-cost", "USER_DATABASE_DSN"},
		},
	})
}

// However a DSN goes astray, no error quotes it.
func TestNoErrorQuotesADSN(t *testing.T) {
	for name, w := range map[string]world{
		"as a flag that does not exist":   {args: []string{"--user-database-dsn=" + goodDSN}},
		"as a flag's name":                {args: []string{"-" + goodDSN}},
		"behind three dashes":             {args: []string{"---dsn=" + goodDSN}},
		"as an argument":                  {args: []string{goodDSN}},
		"in place of its file's path":     {args: []string{"--user-database-dsn-file=" + goodDSN}},
		"in place of the listener's path": {args: []string{"--listen-dsn-file", "host=db password=" + canary}, env: map[string]string{dsn.Variable: goodDSN}},
		"in place of the login DSN":       {args: []string{"--login-database-dsn-file=" + goodDSN}, env: map[string]string{dsn.Variable: goodDSN}},
		"as the flag of the login DSN":    {args: []string{"--login-database-dsn=" + goodDSN}},
		"in place of the settings file":   {args: []string{"--config=" + goodDSN}},
		"in place of the certificates":    {args: []string{"--metrics-cert-dir=" + goodDSN}},
		"in place of a number":            {args: []string{"--bcrypt-cost=" + goodDSN}},
		"without its scheme":              {args: []string{"--config=alice:" + canary + "@db/users"}},
		"with half of its scheme":         {args: []string{"--user-database-dsn-file=postgres:/alice:" + canary + "@db/users"}},
		"with another keyword":            {args: []string{"--metrics-cert-dir=host=db pwd=" + canary}},
		"as a size in the file":           {files: map[string]string{defaultConfigFile: "operator: {audit-max-size: 'alice:" + canary + "@db'}"}},
		"in place of the signing secret":  {args: []string{"--jwt-secret-file=" + goodDSN}},
		"in another program's flag":       {args: []string{"--zap-devel=" + goodDSN}},
		"in a file that is no YAML":       {files: map[string]string{defaultConfigFile: "a: [\nuser_database_dsn: " + goodDSN}},
		"as a whole file":                 {files: map[string]string{defaultConfigFile: goodDSN}},
		"as a section":                    {files: map[string]string{defaultConfigFile: "security: " + goodDSN}},
		"as a key":                        {files: map[string]string{defaultConfigFile: "operator: {'" + goodDSN + "': 1}"}},
		"as a list":                       {files: map[string]string{defaultConfigFile: "security: {user_database_dsn: ['" + goodDSN + "']}"}},
		"wrong in the settings file":      {files: map[string]string{defaultConfigFile: "security: {user_database_dsn: '" + canary + "'}"}},
		"wrong in the environment":        {env: map[string]string{dsn.Variable: "mysql://alice:" + canary + "@db/users"}},
		"wrong in a mounted file":         {files: map[string]string{"dsn": "postgres://a:" + canary + "/x@db:port"}, args: []string{"--user-database-dsn-file=dsn"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.load(t)
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
}

func TestADSNFlagIsExplained(t *testing.T) {
	_, err := world{args: []string{"--user-database-dsn=" + goodDSN}}.load(t)
	if err == nil || !strings.Contains(err.Error(), "USER_DATABASE_DSN") || !strings.Contains(err.Error(), "--user-database-dsn-file") {
		t.Errorf("Load = %v", err)
	}
}
