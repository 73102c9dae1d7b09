// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/peterbourgon/ff/v3"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

const (
	// defaultConfigFile is read where it exists, relative to the working
	// directory, as the sharding manager does.
	defaultConfigFile = "configs/manager.json"

	envPrefix = "SHARDINGUSER"
)

// Load returns the settings that args (without the program's name), the
// process's environment and the settings file make together. extra, which may
// be nil, adds flags that are not this package's; they can be given in all
// three places too.
//
// With -h or --help among args, it writes the flags' description to usage and
// returns [flag.ErrHelp]. Every other error is one sentence a line, each
// saying which setting is wrong, where its value came from, and what would be
// right; all that could be found are there. No error holds a secret.
func Load(args []string, usage io.Writer, extra func(*flag.FlagSet)) (Settings, error) {
	s := defaults(runtime.GOMAXPROCS(0))
	defined := flag.NewFlagSet("manager", flag.ContinueOnError)
	s.bind(defined)
	if extra != nil {
		extra(defined)
	}
	l := newLoader(defined)

	if err := l.flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		printUsage(usage, defined)
		return Settings{}, flag.ErrHelp
	} else if err != nil {
		return Settings{}, l.commandLineError(err)
	}
	if l.flags.NArg() > 0 {
		return Settings{}, fmt.Errorf("argument %d is not a flag or the value of one, and there are no other arguments: "+
			"write flags, in particular boolean ones, as --name=value", len(args)-l.flags.NArg()+1)
	}

	// The command line is parsed; ff adds the environment, then the file, to
	// the flags that it did not set.
	l.source = fromEnvironment
	if given := l.settings[flagConfig].given(); !given && os.Getenv(envName(flagConfig)) == "" && exists(defaultConfigFile) {
		s.ConfigFile = defaultConfigFile
	}
	err := ff.Parse(l.flags, nil,
		ff.WithEnvVarPrefix(envPrefix),
		ff.WithConfigFileFlag(flagConfig),
		ff.WithConfigFileParser(func(r io.Reader, set func(name, value string) error) error {
			l.source, l.file = fromFile, s.ConfigFile
			return l.readFile(r, set)
		}))
	if err != nil {
		l.problem(l.settings[flagConfig].origin, "cannot read the settings file %s: %w", quoted(s.ConfigFile), cause(err))
	}

	l.collect()
	s.Namespace = ownNamespace(s.LeaderElectionNamespace, podNamespaceFile)
	l.checkTogether(&s)
	l.resolveDSN(&s.Database)
	l.checkLoginDSN(s)
	if err := errors.Join(l.problems...); err != nil {
		return Settings{}, err
	}
	s.Warnings = l.unknownVariables(os.Environ())
	return s, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// envName returns the environment variable of a flag, as ff derives it.
func envName(flagName string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// A loader reads the three sources and remembers what came from where.
type loader struct {
	flags    *flag.FlagSet
	settings map[string]*setting // by flag name

	source  source // the one being read
	file    string // the settings file's path
	fileDSN string // what it has for a DSN

	problems []error
}

type source int

const (
	fromCommandLine source = iota
	fromEnvironment
	fromFile
)

// newLoader takes over the flags of defined, each wrapped in a setting.
func newLoader(defined *flag.FlagSet) *loader {
	l := &loader{flags: flag.NewFlagSet(defined.Name(), flag.ContinueOnError), settings: map[string]*setting{}}
	// The flag package would print its errors, values included, by itself.
	l.flags.SetOutput(io.Discard)
	l.flags.Usage = func() {}
	defined.VisitAll(func(f *flag.Flag) {
		s := &setting{Value: f.Value, name: f.Name, loader: l}
		l.settings[f.Name] = s
		l.flags.Var(s, f.Name, f.Usage)
	})
	return l
}

// A setting is a flag that keeps a refusal for later, so that one wrong value
// does not hide the next.
type setting struct {
	flag.Value
	name   string
	loader *loader

	origin string // where its value came from, empty for the default
	err    error
}

// Set never fails; see setting.err.
func (s *setting) Set(value string) error {
	s.origin = s.loader.originOf(s.name)
	s.err = nil
	err := s.Value.Set(value)
	if err != nil && s.IsBoolFlag() {
		err = want("true or false") // package flag's own error says nothing
	}
	var w want
	switch {
	case err == nil:
	case errors.As(err, &w):
		s.err = fmt.Errorf("%s: %s is not %w", s.origin, quoted(value), err)
	case dsn.MayBe(value): // which the error may quote
		s.err = fmt.Errorf("%s: %s is rejected", s.origin, quoted(value))
	default:
		s.err = fmt.Errorf("%s: %s is rejected: %w", s.origin, quoted(value), err)
	}
	return nil
}

// IsBoolFlag lets a boolean flag go without a value.
func (s *setting) IsBoolFlag() bool {
	b, ok := s.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func (s *setting) given() bool { return s.origin != "" }

// originOf says where the value of a flag comes from that is being set.
func (l *loader) originOf(name string) string {
	switch l.source {
	case fromEnvironment:
		return "environment variable " + envName(name)
	case fromFile:
		return "operator." + name + " in " + l.file
	default:
		return "flag --" + name
	}
}

// problem adds a problem with what came from origin, if that is known.
func (l *loader) problem(origin, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if origin != "" {
		err = fmt.Errorf("%s: %w", origin, err)
	}
	l.problems = append(l.problems, err)
}

// collect adds the refused values, in the flags' order.
func (l *loader) collect() {
	l.flags.VisitAll(func(f *flag.Flag) {
		if err := l.settings[f.Name].err; err != nil {
			l.problems = append(l.problems, err)
		}
	})
}

// checkTogether checks what one value alone cannot tell.
func (l *loader) checkTogether(s *Settings) {
	if d := &s.Database; d.IdleConnections > d.MaxConnections {
		if idle := l.settings[flagIdleConnections]; idle.given() {
			l.problem(idle.origin, "%d idle connections are more than the %d of --%s; lower the first or raise the second",
				d.IdleConnections, d.MaxConnections, flagMaxConnections)
		} else {
			d.IdleConnections = d.MaxConnections
		}
	}
	l.checkAddresses(s)
	l.checkDefaultUsers(s)
	l.checkCertificate(flagMetricsCertDir, s.MetricsCertDir)
	l.checkCertificate(flagLoginCertDir, s.Login.TLSCertDir)
	l.checkSecrets(&s.Login)
}

// checkSecrets checks the files of the signing secrets. Their paths are not quoted: somebody may have given a secret itself.
func (l *loader) checkSecrets(login *Login) {
	for _, secret := range []struct{ flag, file string }{
		{flagJWTSecretFile, login.JWTSecretFile},
		{flagJWTPreviousSecretFile, login.JWTPreviousSecretFile},
	} {
		if secret.file == "" {
			continue
		}
		_, err := os.ReadFile(secret.file)
		if secret.flag == flagJWTPreviousSecretFile && errors.Is(err, fs.ErrNotExist) {
			continue // it was removed to end it, and a restart must not fail by that
		}
		if err != nil {
			l.problem(l.settings[secret.flag].origin, "cannot read the file of the signing secret: %w; "+
				"set a file that contains at least 32 bytes", cause(err))
		}
	}
	if login.JWTSecretFile == "" && login.JWTPreviousSecretFile != "" {
		l.problem(l.settings[flagJWTPreviousSecretFile].origin, "a previous signing secret is set, but no current one; set --%s too", flagJWTSecretFile)
	}
	if login.JWTPreviousSecretFile == "" && !login.JWTPreviousSecretUntil.IsZero() {
		l.problem(l.settings[flagJWTPreviousSecretUntil].origin, "no previous signing secret is set; set --%s too", flagJWTPreviousSecretFile)
	}
}

// checkAddresses checks that no two servers listen where only one can.
func (l *loader) checkAddresses(s *Settings) {
	servers := []struct{ flag, address string }{
		{flagMetricsAddress, s.MetricsBindAddress},
		{flagHealthAddress, s.HealthProbeBindAddress},
		{flagLoginAddress, s.Login.BindAddress},
		{flagPprofAddress, s.PprofBindAddress},
	}
	for i, a := range servers {
		for _, b := range servers[i+1:] {
			if overlap(a.address, b.address) {
				l.problem("", "--%s (%s) and --%s (%s) are the same address; set different ports", a.flag, a.address, b.flag, b.address)
			}
		}
	}
}

// checkCertificate checks that the folder has a certificate and its key.
func (l *loader) checkCertificate(flag, dir string) {
	if dir == "" {
		return
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		//nolint:gosec // The path is the operator's own setting.
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			l.problem(l.settings[flag].origin, "cannot read %[2]s in the folder %[1]s: %[3]w; "+
				"mount a TLS Secret there", quoted(dir), name, cause(err))
		}
	}
}

// resolveDSN settles which DSN is in force, and checks it and the listener's.
func (l *loader) resolveDSN(d *Database) {
	var err error
	switch d.DSN, err = dsn.FromEnvironment(); {
	case d.DSNFile != "":
		if d.DSN, err = dsn.ReadFile(d.DSNFile); err != nil {
			l.problem(l.settings[flagDSNFile].origin, "%w", err)
		}
	case err != nil:
		l.problem("", "%w", err)
	case d.DSN == "" && l.fileDSN != "":
		d.DSN = dsn.DSN(l.fileDSN)
		if err := d.DSN.Check(); err != nil {
			l.problem(keyDSN+" in "+l.file, "%w", err)
		}
	}

	if d.ListenDSNFile == "" {
		return
	}
	origin := l.settings[flagListenDSNFile].origin
	if _, err := dsn.ReadFile(d.ListenDSNFile); err != nil {
		l.problem(origin, "%w", err)
	}
	if d.DSN == "" && d.DSNFile == "" {
		l.problem(origin, "no database is set to listen to; set its DSN by --%s, %s or %s in the settings file",
			flagDSNFile, dsn.Variable, keyDSN)
	}
}

// checkLoginDSN checks the DSN of the log-in side's role, and whether that side is there.
func (l *loader) checkLoginDSN(s Settings) {
	d := s.Database
	if d.LoginDSNFile == "" {
		if given := l.settings[flagLoginMaxConnections]; given.given() {
			l.problem(given.origin, "logins have no connection pool without a separate role; set the DSN of one by --%s, "+
				"or set --%s for all", flagLoginDSNFile, flagMaxConnections)
		}
		return
	}
	origin := l.settings[flagLoginDSNFile].origin
	switch its, err := dsn.ReadFile(d.LoginDSNFile); {
	case err != nil:
		l.problem(origin, "%w", err)
	case its == d.DSN:
		l.problem(origin, "the file contains the controller's DSN; write the DSN of another role, or remove the flag")
	}
	if d.DSN == "" && d.DSNFile == "" {
		l.problem(origin, "the login role needs a controller role; set the controller's DSN by --%s, %s or %s in the settings file",
			flagDSNFile, dsn.Variable, keyDSN)
	}
	if !s.Login.Enabled() {
		l.problem(origin, "the login role is unused while --%s is 0; remove one of the two flags",
			flagLoginAddress)
	}
}

var flagName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// commandLineError puts the flag package's error into our words. It quotes a
// flag's name only where it looks like one: a DSN may stand in its place.
func (l *loader) commandLineError(err error) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		return fmt.Errorf("flag --%s needs a value; write --%[1]s=value", name)
	}
	name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	switch {
	case !ok || !flagName.MatchString(name):
		return errors.New("an argument is not a flag; write --name=value, and see --help")
	case strings.HasSuffix(name, "dsn") && name+"-file" != flagDSNFile && l.settings[name+"-file"] != nil:
		return fmt.Errorf("unknown flag --%s: a DSN contains a password and is never a flag's value; write it to a file and set "+
			"--%[1]s-file", name)
	case strings.HasSuffix(name, "dsn"):
		return fmt.Errorf("unknown flag --%s: a DSN contains a password and is never a flag's value; "+
			"set the environment variable %s, or write it to a file and set --%s", name, dsn.Variable, flagDSNFile)
	}
	return fmt.Errorf("unknown flag --%s: did you mean --%s? See --help", name, l.nearest(name))
}

// cause is what is wrong with a file, without the path that the message names already.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// quoted returns value in quotes, cut where it is long, or *** where it may be
// a secret.
func quoted(value string) string {
	const most = 100
	if dsn.MayBe(value) {
		return dsn.Hidden
	}
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "..."
	}
	return fmt.Sprintf("%q", value)
}
