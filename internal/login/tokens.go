// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/serving"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// passwordHeader is the header parameter that binds a token to a password, by a keyed digest of the row's hash. It detects
	// password changes without comparing clocks, including those by other programs. It is not a claim, so that the claims stay
	// those of the sharding system.
	//
	// A stand-in hash is valid only in this process and until the real hash replaces it. A token issued with one has
	// unboundMark, and is refused once the row has a hash that the operator applied.
	passwordHeader = "pwd"
	unboundMark    = "unbound"

	// clockSkew is the largest time that another replica's clock may be ahead of this one's.
	clockSkew = 10 * time.Second

	// longestLife is the longest time from iat to exp that a token may have. The sharding manager's tokens have 24 hours,
	// whatever the lifetime of ours is.
	longestLife = 24 * time.Hour
)

// claims are the claims of the sharding system's tokens.
type claims struct {
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
	jwt.RegisteredClaims
}

// TokenOptions configures Tokens.
type TokenOptions struct {
	// Secret names the file of a secret, and Key that of a private key; "" for none. With a key, the secret only verifies.
	Secret, Key string

	// Previous names the file of a secret or a key that is still valid until PreviousUntil; if that is zero, for the life of a
	// token after the process read the file. Use it to replace a secret that did not leak. It may also hold the next key, so
	// that the key is published before it signs.
	Previous      string // "" for none
	PreviousUntil time.Time

	// Lifetime is the time from iat to exp. Older tokens are invalid, whatever their exp is.
	Lifetime time.Duration

	// Issuer and Audience are claims of tokens that a key signs.
	Issuer, Audience string

	Now func() time.Time
	Log *slog.Logger
}

// Tokens issues and checks tokens. It reads the secrets and keys again when their files change. A replaced one is invalid unless
// it is the previous one. Tokens is safe for concurrent use.
type Tokens struct {
	options  TokenOptions
	current  []*serving.Reloaded[key] // the first signs
	previous *serving.Reloaded[previousKey]
}

// previousKey has no method if the file is empty or missing.
type previousKey struct {
	key
	until time.Time
}

// NewTokens reads the files and returns Tokens. It ignores one trailing newline of a secret.
func NewTokens(o TokenOptions) (*Tokens, error) {
	t := &Tokens{options: o}
	for _, source := range []struct {
		file  string
		parse func([]byte) (key, error)
	}{{o.Key, parseKey}, {o.Secret, parseSecret}} {
		if source.file == "" {
			continue
		}
		current := &serving.Reloaded[key]{Files: []string{source.file}, Now: o.Now, Log: o.Log}
		current.Parse = func(contents [][]byte) (key, error) { return source.parse(contents[0]) }
		if err := current.Load(); err != nil {
			return nil, fmt.Errorf("read what signs tokens: %w", err)
		}
		t.current = append(t.current, current)
	}
	if o.Previous == "" {
		return t, nil
	}
	t.previous = &serving.Reloaded[previousKey]{Files: []string{o.Previous}, Now: o.Now, Log: o.Log, Optional: true, Parse: t.parsePrevious}
	if err := t.previous.Load(); err != nil {
		return nil, fmt.Errorf("read the previous signing secret: %w", err)
	}
	if t.previous.Get().method == nil {
		o.Log.Warn("The file of the previous signing secret is missing or empty; only the current secret is accepted", "file", o.Previous)
	}
	return t, nil
}

func (t *Tokens) parsePrevious(contents [][]byte) (previousKey, error) {
	if len(trimNewline(contents[0])) == 0 {
		return previousKey{}, nil
	}
	k, err := parseEither(contents[0])
	until := t.options.PreviousUntil
	if until.IsZero() {
		until = t.options.Now().Add(t.options.Lifetime)
	}
	return previousKey{key: k, until: until}, err
}

// keys returns the valid keys. The first one signs.
func (t *Tokens) keys() []key {
	keys := make([]key, 0, len(t.current)+1)
	for _, current := range t.current {
		keys = append(keys, current.Get())
	}
	if t.previous != nil {
		if previous := t.previous.Get(); previous.method != nil && t.options.Now().Before(previous.until) {
			keys = append(keys, previous.key)
		}
	}
	return keys
}

// published returns the public parts of the valid keys. Secrets have none.
func (t *Tokens) published() []jwk {
	if t == nil {
		return nil
	}
	var public []jwk
	for _, k := range t.keys() {
		if !k.isSecret() {
			public = append(public, k.public)
		}
	}
	return public
}

// issue returns a token for the account of a success.
func (t *Tokens) issue(of Result) (string, error) {
	k, now := t.keys()[0], t.options.Now()
	c := claims{
		Username: of.Username,
		Roles:    listed(of.Roles),
		RegisteredClaims: jwt.RegisteredClaims{
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(t.options.Lifetime)),
		},
	}
	if !k.isSecret() {
		c.Subject, c.Issuer, c.Audience, c.ID = of.Username, t.options.Issuer, jwt.ClaimStrings{t.options.Audience}, rand.Text()
	}
	token := jwt.NewWithClaims(k.method, c)
	if !k.isSecret() {
		token.Header["kid"] = k.public.ID
	}
	token.Header[passwordHeader] = unboundMark
	if !password.IsStandIn(of.hash) {
		token.Header[passwordHeader] = passwordDigest(k.mark, of.hash, of.signOut)
	}
	return token.SignedString(k.sign)
}

// checked is a token with a valid signature and valid times.
type checked struct {
	claims
	key  key    // of its signature
	mark string // of the password; "" in tokens of other programs
}

var (
	errToken    = errors.New("the token is invalid or expired")
	errOtherKey = errors.New("another key signed the token")
)

// check returns a token if its signature and times are valid. See allows for the state of its account.
//
// It accepts only the canonical encoding. Lax base64 ignores trailing bits and line ends, so one token would have several
// spellings, which a list of revoked tokens would not match.
//
// A token does not choose how it is verified: each key has one algorithm, and a key that is published verifies only tokens with
// its ID, issuer and audience. Header parameters that carry or name other keys are ignored.
func (t *Tokens) check(raw string) (checked, error) {
	if strings.ContainsAny(raw, "\r\n") {
		return checked{}, errToken
	}
	now := t.options.Now()
	for _, k := range t.keys() {
		c := checked{key: k}
		token, err := t.parser(k, now).ParseWithClaims(raw, &c.claims, func(token *jwt.Token) (any, error) {
			if !k.isSecret() && token.Header["kid"] != k.public.ID {
				return nil, errOtherKey
			}
			return k.verify, nil
		})
		if errors.Is(err, jwt.ErrTokenSignatureInvalid) || errors.Is(err, errOtherKey) {
			continue
		}
		if err != nil || !t.isTimely(c.claims, now) || c.Username == "" {
			return checked{}, errToken
		}
		if _, there := token.Header["crit"]; there { // RFC 7515 section 4.1.11: we understand no extension
			return checked{}, errToken
		}
		if mark, there := token.Header[passwordHeader]; there {
			// A value that is not a string matches no digest.
			c.mark = fmt.Sprint(mark)
		}
		return c, nil
	}
	return checked{}, errToken
}

func (t *Tokens) parser(k key, now time.Time) *jwt.Parser {
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{k.method.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if !k.isSecret() {
		options = append(options, jwt.WithIssuer(t.options.Issuer), jwt.WithAudience(t.options.Audience))
	}
	return jwt.NewParser(options...)
}

// isTimely reports whether a token that has not expired was issued at a possible time, and not too long ago.
func (t *Tokens) isTimely(c claims, now time.Time) bool {
	return c.IssuedAt != nil && !c.IssuedAt.After(now.Add(clockSkew)) && now.Before(c.IssuedAt.Add(t.options.Lifetime)) &&
		c.ExpiresAt.Sub(c.IssuedAt.Time) <= max(t.options.Lifetime, longestLife)
}

// allows reports whether the account still accepts a token: the row exists, is active and has not ended, has the password that it
// had when the token was issued, and was not signed out since then. A locked account accepts its tokens, since anyone can cause a
// lock from outside.
//
// An account whose password the operator manages accepts only tokens with the mark of its password. Other accounts accept tokens
// without the mark, which another program signed with the same secret, by their times, to the second.
func (c checked) allows(o user.Observed) bool {
	if o.Row == nil || !o.Row.Active || o.Ended() {
		return false
	}
	switch isStandIn := password.IsStandIn(o.Row.PasswordHash); {
	case c.mark == "" && isOperatorsPassword(o):
		return false
	case c.mark == "" || isStandIn: // there is nothing to compare
	case c.mark == unboundMark && !isOperatorsPassword(o):
	default:
		return hmac.Equal([]byte(c.mark), []byte(passwordDigest(c.key.mark, o.Row.PasswordHash, o.SignedOutAt())))
	}
	if at := o.SignedOutAt(); at != nil && !c.IssuedAt.After(*at) {
		return false
	}
	return o.Ownership == nil || o.Ownership.PasswordChangedAt == nil || !c.IssuedAt.Before(*o.Ownership.PasswordChangedAt)
}

// isOperatorsPassword reports whether the operator applied the row's password, or will.
func isOperatorsPassword(o user.Observed) bool {
	return o.Ownership != nil && o.Ownership.State == user.Owned &&
		(o.Ownership.PasswordHash != "" || password.IsStandIn(o.Row.PasswordHash))
}

// passwordDigest returns the mark of a password and of the last sign-out. The time of the sign-out is only compared for equality,
// so the clocks of replicas do not matter.
func passwordDigest(key []byte, hash string, signOut *time.Time) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("shardinguser-operator: the password of a token\x00" + hash))
	if signOut != nil {
		mac.Write([]byte("\x00" + strconv.FormatInt(signOut.Unix(), 10)))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// listed returns the roles, or an empty list for nil, which JSON would encode as null.
func listed(roles []string) []string {
	if roles == nil {
		return []string{}
	}
	return roles
}

// Bearer accepts a valid token, and returns the current roles of its account.
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
