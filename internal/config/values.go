// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of setting, each a pflag.Value. Their Set refuses with a want.

// Type returns how a value is written in the settings file.
const (
	typeNumber = "number"
	typeBool   = "bool"
	typeList   = "list"
	typeText   = "text" // a number will do
)

// A want is the error of a refused value: what would have been right, in words
// that go on after `"..." is not`.
type want string

func (w want) Error() string { return string(w) }

// number is a whole number within limits.
type number struct {
	at       *int
	min, max int
}

func (n number) Set(s string) error {
	v, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || v < n.min || v > n.max {
		return want("a whole number from " + strconv.Itoa(n.min) + " to " + strconv.Itoa(n.max))
	}
	*n.at = v
	return nil
}
func (n number) String() string { return strconv.Itoa(*n.at) }
func (number) Type() string     { return typeNumber }

// Auto is the value of a number that the program chooses by itself.
const Auto = -1

// numberOrAuto is a number or the word auto.
type numberOrAuto struct{ number }

const auto = "auto"

func (n numberOrAuto) Set(s string) error {
	if strings.TrimSpace(s) == auto {
		*n.at = Auto
		return nil
	}
	if err := n.number.Set(s); err != nil {
		return want(auto + ", or " + err.Error())
	}
	return nil
}

func (n numberOrAuto) String() string {
	if *n.at == Auto {
		return auto
	}
	return n.number.String()
}
func (numberOrAuto) Type() string { return typeText }

// rate is a number a second, 1 to 10000, or 0 for any number.
type rate struct{ at *float32 }

func (r rate) Set(s string) error {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 32)
	// Written so that NaN is refused.
	if err != nil || !(v == 0 || v >= 1 && v <= 10000) {
		return want("0 or a number from 1 to 10000")
	}
	*r.at = float32(v)
	return nil
}
func (r rate) String() string { return strconv.FormatFloat(float64(*r.at), 'g', -1, 32) }
func (rate) Type() string     { return typeNumber }

// duration is a length of time of at least min.
type duration struct {
	at  *time.Duration
	min time.Duration
}

func (d duration) Set(s string) error {
	v, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || v < d.min {
		return want("a duration of at least " + d.min.String() + ", such as 30s or 5m")
	}
	*d.at = v
	return nil
}
func (d duration) String() string { return d.at.String() }
func (duration) Type() string     { return typeText }

// moment is a point in time; the zero time is none.
type moment struct{ at *time.Time }

func (m moment) Set(s string) error {
	s = strings.TrimSpace(s)
	if s == "" {
		*m.at = time.Time{}
		return nil
	}
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return want("a time such as 2027-01-31T00:00:00Z")
	}
	*m.at = v.UTC()
	return nil
}

func (m moment) String() string {
	if m.at == nil || m.at.IsZero() {
		return ""
	}
	return m.at.Format(time.RFC3339)
}
func (moment) Type() string { return typeText }

// size is a number of bytes: 0, or 1 MiB or more.
type size struct{ at *int64 }

// sizeUnits are the units in which sizes are written, the largest first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func (s size) Set(text string) error {
	text = strings.TrimSpace(text)
	unit := int64(1)
	for _, u := range sizeUnits {
		// Kubernetes writes 2Gi, people 2GiB.
		if number, found := strings.CutSuffix(strings.TrimSuffix(text, "B"), strings.TrimSuffix(u.suffix, "B")); found {
			text, unit = strings.TrimSpace(number), u.bytes
			break
		}
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64/unit || (v > 0 && v*unit < 1<<20) {
		return want("a size of at least 1MiB, such as 512MiB or 2GiB, or 0 for any size")
	}
	*s.at = v * unit
	return nil
}

func (s size) String() string {
	for _, u := range sizeUnits {
		if *s.at > 0 && *s.at%u.bytes == 0 {
			return strconv.FormatInt(*s.at/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(*s.at, 10)
}
func (size) Type() string { return typeText }

// path is the path of a file or folder; whether it exists is checked later.
type path struct{ at *string }

func (p path) Set(s string) error { *p.at = strings.TrimSpace(s); return nil }
func (p path) String() string     { return *p.at }
func (path) Type() string         { return typeText }

// claim is the value of a claim, which programs compare: one word.
type claim struct{ at *string }

var claimText = regexp.MustCompile(`^[!-~]{1,255}$`)

func (c claim) Set(s string) error {
	s = strings.TrimSpace(s)
	if !claimText.MatchString(s) {
		return want("a text of 1 to 255 printable ASCII characters without spaces, such as https://accounts.example.com")
	}
	*c.at = s
	return nil
}
func (c claim) String() string { return *c.at }
func (claim) Type() string     { return typeText }

// choice is one of a few words.
type choice struct {
	at *string
	of []string
}

func (c choice) Set(s string) error {
	s = strings.TrimSpace(s)
	if !slices.Contains(c.of, s) {
		return want("one of " + strings.Join(c.of, ", "))
	}
	*c.at = s
	return nil
}
func (c choice) String() string { return *c.at }
func (choice) Type() string     { return typeText }

// off is the address of what does not serve.
const off = "0"

// address is host:port with a numeric port, its host empty for every
// interface, or "0" for off.
type address struct{ at *string }

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

func (a address) Set(s string) error {
	s = strings.TrimSpace(s)
	if s != off {
		host, port, err := net.SplitHostPort(s)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil || net.ParseIP(host) == nil && !hostName.MatchString(host) {
			return want("an address such as :8081 or 127.0.0.1:8081, or 0 to turn it off")
		}
	}
	*a.at = s
	return nil
}
func (a address) String() string { return *a.at }
func (address) Type() string     { return typeText }

// overlap tells whether two addresses cannot be listened on together.
func overlap(a, b string) bool {
	if a == off || b == off {
		return false
	}
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	if portA != portB || portA == "0" { // port 0 is any that is free
		return false
	}
	every := func(host string) bool { return host == "" || net.ParseIP(host).IsUnspecified() }
	return hostA == hostB || every(hostA) || every(hostB)
}

var namespaceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// secretName is the name of a Secret, or empty.
type secretName struct{ at *string }

func (n secretName) Set(s string) error {
	s = strings.TrimSpace(s)
	if s != "" && !namespaceName.MatchString(s) {
		return want("the name of a Secret: up to 63 of a-z, 0-9 and -, starting and ending with a letter or digit")
	}
	*n.at = s
	return nil
}
func (n secretName) String() string { return *n.at }
func (secretName) Type() string     { return typeText }

// namespace is the name of one, or empty.
type namespace struct{ at *string }

func (n namespace) Set(s string) error {
	s = strings.TrimSpace(s)
	if s != "" && !namespaceName.MatchString(s) {
		return want("the name of a namespace: up to 63 of a-z, 0-9 and -, starting and ending with a letter or digit")
	}
	*n.at = s
	return nil
}
func (n namespace) String() string { return *n.at }
func (namespace) Type() string     { return typeText }

// system is the name of a sharding system, or empty. It is a DNS label, as a namespace is.
type system struct{ at *string }

func (n system) Set(s string) error {
	s = strings.TrimSpace(s)
	if s != "" && !namespaceName.MatchString(s) {
		return want("the name of a system: up to 63 of a-z, 0-9 and -, starting and ending with a letter or digit, such as orders")
	}
	*n.at = s
	return nil
}
func (n system) String() string { return *n.at }
func (system) Type() string     { return typeText }

// roleName is what the API server lets a role be.
var roleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$`)

// names is a comma-separated list of names, kept sorted and distinct.
type names struct {
	at    *[]string
	valid *regexp.Regexp
	of    string // what they are, and an example
}

func (n names) Set(s string) error {
	var list []string
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue // a trailing comma, or no name at all
		}
		if !n.valid.MatchString(name) {
			return want("a comma-separated list of " + n.of)
		}
		list = append(list, name)
	}
	slices.Sort(list)
	*n.at = slices.Compact(list)
	return nil
}
func (n names) String() string { return strings.Join(*n.at, ",") }
func (names) Type() string     { return typeList }

// networks is a comma-separated list of networks or single addresses, kept
// sorted and distinct.
type networks struct{ at *[]netip.Prefix }

func (n networks) Set(s string) error {
	var prefixes []netip.Prefix
	for text := range strings.SplitSeq(s, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue // a trailing comma, or no network at all
		}
		prefix, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil && address.Zone() == "" {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return want("a comma-separated list of networks, such as 10.0.0.0/8,192.0.2.1,fd00::/8")
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	*n.at = slices.Compact(prefixes)
	return nil
}

func (n networks) String() string {
	texts := make([]string, 0, len(*n.at))
	for _, prefix := range *n.at {
		texts = append(texts, prefix.String())
	}
	return strings.Join(texts, ",")
}
func (networks) Type() string { return typeList }

// onOff is on or off.
type onOff struct{ at *bool }

func (o onOff) Set(s string) error {
	switch strings.TrimSpace(s) {
	case "on":
		*o.at = true
	case "off":
		*o.at = false
	default:
		return want("on or off")
	}
	return nil
}

func (o onOff) String() string {
	if *o.at {
		return "on"
	}
	return "off"
}
func (onOff) Type() string { return typeText }

// boolean is true or false.
type boolean struct{ at *bool }

func (b boolean) Set(s string) error {
	v, err := strconv.ParseBool(strings.TrimSpace(s))
	if err != nil {
		return want("true or false")
	}
	*b.at = v
	return nil
}
func (b boolean) String() string { return strconv.FormatBool(*b.at) }
func (boolean) Type() string     { return typeBool }
