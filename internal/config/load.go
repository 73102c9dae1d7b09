// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

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
// returns [pflag.ErrHelp]. Every other error is one sentence a line, each
// saying which setting is wrong, where its value came from, and what would be
// right; all that could be found are there. No error holds a secret.
func Load(args []string, usage io.Writer, extra func(*flag.FlagSet)) (Settings, error) {
	s := defaults()
	others := flag.NewFlagSet("", flag.ContinueOnError)
	if extra != nil {
		extra(others)
	}
	l := newLoader(&s, others)

	if err := l.flags.Parse(l.doubleDashed(args)); errors.Is(err, pflag.ErrHelp) {
		printUsage(usage, table(&s), others)
		return Settings{}, err
	} else if err != nil {
		return Settings{}, l.commandLineError(err)
	}
	if l.flags.NArg() > 0 {
		return Settings{}, fmt.Errorf("argument %d is not a flag or the value of one, and there are no other arguments: "+
			"write flags, in particular boolean ones, as --name=value", len(args)-l.flags.NArg()+1)
	}
	l.readEnvironment()
	if !l.settings[flagConfig].given() && exists(defaultConfigFile) {
		s.ConfigFile = defaultConfigFile
	}
	if err := l.openFile(s.ConfigFile); err != nil {
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

// A loader reads the three sources, the one of the highest precedence first, and remembers what came from where.
type loader struct {
	flags    *pflag.FlagSet
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

// newLoader returns a loader into s, and into the values of flags that are not this package's.
func newLoader(s *Settings, others *flag.FlagSet) *loader {
	l := &loader{flags: pflag.NewFlagSet("manager", pflag.ContinueOnError), settings: map[string]*setting{}}
	l.flags.Usage = func() {} // pflag would print by itself
	l.flags.SetInterspersed(false)
	for _, section := range table(s) {
		for _, setting := range section.Settings {
			l.add(setting.Name, setting.Value)
		}
	}
	others.VisitAll(func(f *flag.Flag) { l.add(f.Name, pflag.PFlagFromGoFlag(f).Value) })
	return l
}

// add adds a flag.
func (l *loader) add(name string, value pflag.Value) {
	s := &setting{Value: value, name: name, loader: l}
	l.settings[name] = s
	f := l.flags.VarPF(s, name, "", "")
	if s.Type() == typeBool {
		f.NoOptDefVal = "true" // it may go without a value
	}
}

// doubleDashed returns args with two dashes before each flag. One is accepted, too, as by Go's package flag, and h for help.
func (l *loader) doubleDashed(args []string) []string {
	args = slices.Clone(args)
	for i := 0; i < len(args); i++ {
		if len(args[i]) < 2 || args[i][0] != '-' || args[i] == "--" {
			break // no flags after it
		}
		if args[i][1] != '-' {
			args[i] = "-" + args[i]
		}
		name, _, hasValue := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		if name == "h" {
			args[i] = "--help"
		}
		if f := l.flags.Lookup(name); f != nil && !hasValue && f.NoOptDefVal == "" {
			i++ // its value, which may begin with a dash
		}
	}
	return args
}

// readEnvironment sets the flags that were not given yet. An empty variable counts as not set.
func (l *loader) readEnvironment() {
	l.source = fromEnvironment
	for name, s := range l.settings {
		if value := os.Getenv(variable(name)); value != "" && !s.given() {
			_ = s.Set(value) // it keeps its error for later
		}
	}
}

// openFile reads the settings file at path, if there is one.
func (l *loader) openFile(path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path) //nolint:gosec // The path is the operator's own setting.
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	l.source, l.file = fromFile, path
	return l.readFile(file)
}

// A setting is a flag that keeps a refusal for later, so that one wrong value
// does not hide the next.
type setting struct {
	pflag.Value
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
	if err != nil && s.Type() == typeBool {
		err = want("true or false") // Go's own error says nothing
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

func (s *setting) given() bool { return s.origin != "" }

// originOf says where the value of a flag comes from that is being set.
func (l *loader) originOf(name string) string {
	switch l.source {
	case fromEnvironment:
		return "environment variable " + variable(name)
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
	l.flags.VisitAll(func(f *pflag.Flag) {
		if err := l.settings[f.Name].err; err != nil {
			l.problems = append(l.problems, err)
		}
	})
}

var flagName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// commandLineError puts pflag's error into our words. It quotes a flag's name only where it looks like one: a DSN may stand in
// its place.
func (l *loader) commandLineError(err error) error {
	var valueless *pflag.ValueRequiredError
	if errors.As(err, &valueless) {
		return fmt.Errorf("flag --%s needs a value; write --%[1]s=value", valueless.GetSpecifiedName())
	}
	name := ""
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name = unknown.GetSpecifiedName()
	}
	switch {
	case !flagName.MatchString(name):
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
