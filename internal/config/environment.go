// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// notSettings are variables with our prefix that other programs of this repository read.
var notSettings = []string{"SHARDINGUSER_OPERATOR_NAMESPACE"}

// variableName is that of a variable which a message may name. Any other name may be a secret.
var variableName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// unknownVariables returns a warning for each variable that looks like a setting and is none. An empty one counts as not set.
func (l *loader) unknownVariables(environ []string) []string {
	services := serviceLinks(environ)
	var warnings []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		folded := strings.ToUpper(name)
		isOurs := strings.HasPrefix(folded, envPrefix+"_")
		if !isOurs || value == "" || l.isSetting(name) || slices.Contains(notSettings, name) || isServiceLink(name, services) {
			continue
		}
		shown := name
		if !variableName.MatchString(name) {
			shown = "with the prefix " + envPrefix + "_"
		}
		warnings = append(warnings, fmt.Sprintf("the environment variable %s is not a setting and has no effect; did you mean %s?",
			shown, l.nearestVariable(folded)))
	}
	slices.Sort(warnings)
	return slices.Compact(warnings)
}

// isSetting tells whether a variable is one of a flag.
func (l *loader) isSetting(name string) bool {
	for flag := range l.settings {
		if variable(flag) == name {
			return true
		}
	}
	return false
}

// nearestVariable returns the variable of the setting whose name is the fewest edits away.
func (l *loader) nearestVariable(name string) string {
	if name == envPrefix+"_"+dsn.Variable || name == envPrefix+"_DSN" || name == envPrefix+"_DATABASE_DSN" {
		return dsn.Variable // the one without our prefix
	}
	flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix+"_"), "_", "-"))
	return variable(l.nearest(flag))
}

const (
	serviceHost = "_SERVICE_HOST"
	servicePort = "_SERVICE_PORT"
)

// serviceLinks returns the prefixes of the variables by which the kubelet tells a pod of its namespace's Services.
func serviceLinks(environ []string) []string {
	set := map[string]bool{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		set[name] = true
	}
	var services []string
	for name := range set {
		if service, ok := strings.CutSuffix(name, serviceHost); ok && set[service+servicePort] {
			services = append(services, service)
		}
	}
	return services
}

// linked is what follows the prefix of a Service.
var linked = regexp.MustCompile(`^(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func isServiceLink(name string, services []string) bool {
	return slices.ContainsFunc(services, func(service string) bool {
		rest, ok := strings.CutPrefix(name, service)
		return ok && linked.MatchString(rest)
	})
}
