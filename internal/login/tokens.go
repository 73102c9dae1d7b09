// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/serving"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// MinSecretBytes is the length of the shortest secret: what HMAC-SHA256 makes use of.
	MinSecretBytes = 32

	// tokenLife is from iat to exp.
	tokenLife = 24 * time.Hour

	// passwordHeader is the token's header parameter that binds it to a password: a keyed digest of the row's hash. With
	// it, no clock has a say in whether the password was changed since, and changes by other programs count as well. The
	// claims stay those that the sharding system knows.
	//
	// A stand-in hash means nothing to another process, nor to this one once the hash takes its
	// place: such a token has unboundMark, and is refused once the row has a hash that the operator applied.
	passwordHeader = "pwd"
	unboundMark    = "unbound"

	// clockSkew is how far another replica's clock may be ahead of this one's.
	clockSkew = 10 * time.Second
)

// ErrShortSecret says that a signing secret is too short to be one.
var ErrShortSecret = fmt.Errorf("the signing secret is shorter than %d bytes; create one with `openssl rand -base64 48`", MinSecretBytes)

// CheckSecret tells whether a file's contents can be a signing secret.
func CheckSecret(content []byte) error {
	if len(trimNewline(content)) < MinSecretBytes {
		return ErrShortSecret
	}
	return nil
}

// claims are those that the sharding system's tokens have.
type claims struct {
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
	jwt.RegisteredClaims
}

// TokenFiles names the files of the signing secrets.
type TokenFiles struct {
	Secret string

	// Previous holds a secret that tokens may still be signed with, and PreviousUntil ends that; where that is zero, the secret
	// counts for as long as a token, from when the process read it. Both are for those who replace a secret that did not leak.
	Previous      string // "" for none
	PreviousUntil time.Time
}

// Tokens issues tokens and checks them. The secrets are read again when their files change. A secret that was replaced counts
// no longer, unless it is the previous one. It may be used by any number of goroutines.
type Tokens struct {
	now      func() time.Time
	secret   serving.Reloaded[[]byte]
	previous *serving.Reloaded[previousSecret] // nil where no file is named
}

// previousSecret has no key where the file is empty or has gone.
type previousSecret struct {
	key   []byte
	until time.Time
}

// NewTokens reads the secrets. Of each file, one trailing newline does not count.
func NewTokens(files TokenFiles, now func() time.Time, log *slog.Logger) (*Tokens, error) {
	t := &Tokens{now: now, secret: serving.Reloaded[[]byte]{Files: []string{files.Secret}, Parse: parseSecret, Now: now, Log: log}}
	if err := t.secret.Load(); err != nil {
		return nil, fmt.Errorf("read the signing secret: %w", err)
	}
	if files.Previous == "" {
		return t, nil
	}
	t.previous = &serving.Reloaded[previousSecret]{Files: []string{files.Previous}, Now: now, Log: log, Optional: true}
	t.previous.Parse = func(contents [][]byte) (previousSecret, error) {
		if len(trimNewline(contents[0])) == 0 {
			return previousSecret{}, nil
		}
		key, err := parseSecret(contents)
		until := files.PreviousUntil
		if until.IsZero() {
			until = now().Add(tokenLife)
		}
		return previousSecret{key: key, until: until}, err
	}
	if err := t.previous.Load(); err != nil {
		return nil, fmt.Errorf("read the previous signing secret: %w", err)
	}
	if t.previous.Get().key == nil {
		log.Warn("The file of the previous signing secret is missing or empty; only the current secret is accepted", "file", files.Previous)
	}
	return t, nil
}

// trimNewline drops one trailing newline. A carriage return before it has always counted: to drop it would refuse all tokens.
func trimNewline(content []byte) []byte { return bytes.TrimSuffix(content, []byte("\n")) }

func parseSecret(contents [][]byte) ([]byte, error) {
	if err := CheckSecret(contents[0]); err != nil {
		return nil, err
	}
	return slices.Clone(trimNewline(contents[0])), nil
}

// keys are the secrets that a token may be signed with now, the current one first.
func (t *Tokens) keys() [][]byte {
	keys := [][]byte{t.secret.Get()}
	if t.previous != nil {
		if previous := t.previous.Get(); previous.key != nil && t.now().Before(previous.until) {
			keys = append(keys, previous.key)
		}
	}
	return keys
}

// issue returns a token of an account that has this hash.
func (t *Tokens) issue(username string, roles []string, hash string) (string, error) {
	key, now := t.secret.Get(), t.now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		Username: username,
		Roles:    listed(roles),
		RegisteredClaims: jwt.RegisteredClaims{
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
		},
	})
	token.Header[passwordHeader] = unboundMark
	if !password.IsStandIn(hash) {
		token.Header[passwordHeader] = passwordDigest(key, hash)
	}
	return token.SignedString(key)
}

// checked is a token whose signature and times are right.
type checked struct {
	claims
	key  []byte // that it was signed with
	mark string // of the password; "" in tokens that another program signed
}

var errToken = errors.New("the token is invalid or expired")

// check tells whose a token is. Whether he may still use it is for the account to tell, see allows.
//
// A token has one spelling: base64 has several of the same bytes, by bits at an end that count for nothing and by line ends
// that it skips, and whoever keeps a list of tokens, of revoked ones say, would be told another one.
func (t *Tokens) check(raw string) (checked, error) {
	if strings.ContainsAny(raw, "\r\n") {
		return checked{}, errToken
	}
	now := t.now()
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	for _, key := range t.keys() {
		c := checked{key: key}
		token, err := parser.ParseWithClaims(raw, &c.claims, func(*jwt.Token) (any, error) { return key, nil })
		if errors.Is(err, jwt.ErrTokenSignatureInvalid) {
			continue
		}
		if err != nil || c.Username == "" || c.IssuedAt == nil || c.ExpiresAt.Sub(c.IssuedAt.Time) > tokenLife ||
			c.IssuedAt.After(now.Add(clockSkew)) {
			return checked{}, errToken
		}
		if mark, there := token.Header[passwordHeader]; there {
			// One that is no text is compared with, too, and differs.
			c.mark = fmt.Sprint(mark)
		}
		return c, nil
	}
	return checked{}, errToken
}

// allows reports whether the account still stands by a token: the row exists, is active, and has the password that it had when
// the token was issued. A lock is no reason to refuse a token: anybody can cause one, from outside.
//
// An account whose password is the operator's takes only tokens that have the mark of its password. Of other accounts, tokens
// without the mark, which another program signed with the same secret, are judged by their times, to the second.
func (c checked) allows(o user.Observed) bool {
	if o.Row == nil || !o.Row.Active {
		return false
	}
	switch isStandIn := password.IsStandIn(o.Row.PasswordHash); {
	case c.mark == "" && isOperatorsPassword(o):
		return false
	case c.mark == "" || isStandIn: // nothing can be compared
	case c.mark == unboundMark && !isOperatorsPassword(o):
	default:
		return hmac.Equal([]byte(c.mark), []byte(passwordDigest(c.key, o.Row.PasswordHash)))
	}
	return o.Ownership == nil || o.Ownership.PasswordChangedAt == nil || !c.IssuedAt.Before(*o.Ownership.PasswordChangedAt)
}

// isOperatorsPassword reports whether the operator applied the row's password, or will.
func isOperatorsPassword(o user.Observed) bool {
	return o.Ownership != nil && o.Ownership.State == user.Owned &&
		(o.Ownership.PasswordHash != "" || password.IsStandIn(o.Row.PasswordHash))
}

func passwordDigest(key []byte, hash string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("shardinguser-operator: the password of a token\x00" + hash))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// listed are roles that are written as a list even where there are none.
func listed(roles []string) []string {
	if roles == nil {
		return []string{}
	}
	return roles
}

// Bearer passes a token of ours, with the roles that the account has now.
func (s *Service) Bearer(ctx context.Context, raw string) Result {
	if s.Tokens == nil {
		return Result{Outcome: Unknown}
	}
	token, err := s.Tokens.check(raw)
	if err != nil || !possible(token.Username) {
		return Result{Outcome: Failed}
	}
	o, err := s.Accounts.Observe(ctx, token.Username)
	switch {
	case ctx.Err() != nil:
		return Result{Outcome: Abandoned}
	case err != nil:
		s.Log.Error("Cannot look up an account", "error", err.Error())
		return Result{Outcome: Unavailable}
	case !token.allows(o):
		return Result{Outcome: Superseded}
	}
	return Result{Outcome: Succeeded, Username: token.Username, Roles: o.Row.Roles}
}
