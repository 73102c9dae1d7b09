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
	// MinSecretBytes is the smallest length of a secret: the output size of HMAC-SHA256.
	MinSecretBytes = 32

	// tokenLife is the time from iat to exp.
	tokenLife = 24 * time.Hour

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
)

// ErrShortSecret reports that a signing secret is too short.
var ErrShortSecret = fmt.Errorf("the signing secret is shorter than %d bytes; create one with `openssl rand -base64 48`", MinSecretBytes)

// CheckSecret returns an error if the contents of a file cannot be a signing secret.
func CheckSecret(content []byte) error {
	if len(trimNewline(content)) < MinSecretBytes {
		return ErrShortSecret
	}
	return nil
}

// claims are the claims of the sharding system's tokens.
type claims struct {
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
	jwt.RegisteredClaims
}

// TokenFiles names the files of the signing secrets.
type TokenFiles struct {
	Secret string

	// Previous names the file of a secret that is still valid until PreviousUntil; if that is zero, for the life of a token after
	// the process read the file. Use it to replace a secret that did not leak.
	Previous      string // "" for none
	PreviousUntil time.Time
}

// Tokens issues and checks tokens. It reads the secrets again when their files change. A replaced secret is invalid unless it is
// the previous one. Tokens is safe for concurrent use.
type Tokens struct {
	now      func() time.Time
	secret   serving.Reloaded[[]byte]
	previous *serving.Reloaded[previousSecret] // nil if no file is configured
}

// previousSecret has no key if the file is empty or missing.
type previousSecret struct {
	key   []byte
	until time.Time
}

// NewTokens reads the secrets and returns Tokens. It ignores one trailing newline of each file.
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

// trimNewline returns the content without one trailing newline. A carriage return before it stays: existing secrets may have one.
func trimNewline(content []byte) []byte { return bytes.TrimSuffix(content, []byte("\n")) }

func parseSecret(contents [][]byte) ([]byte, error) {
	if err := CheckSecret(contents[0]); err != nil {
		return nil, err
	}
	return slices.Clone(trimNewline(contents[0])), nil
}

// keys returns the valid secrets, the current one first.
func (t *Tokens) keys() [][]byte {
	keys := [][]byte{t.secret.Get()}
	if t.previous != nil {
		if previous := t.previous.Get(); previous.key != nil && t.now().Before(previous.until) {
			keys = append(keys, previous.key)
		}
	}
	return keys
}

// issue returns a token for an account with this hash.
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

// checked is a token with a valid signature and valid times.
type checked struct {
	claims
	key  []byte // of its signature
	mark string // of the password; "" in tokens of other programs
}

var errToken = errors.New("the token is invalid or expired")

// check returns a token if its signature and times are valid. See allows for the state of its account.
//
// It accepts only the canonical encoding. Lax base64 ignores trailing bits and line ends, so one token would have several
// spellings, which a list of revoked tokens would not match.
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
			// A value that is not a string matches no digest.
			c.mark = fmt.Sprint(mark)
		}
		return c, nil
	}
	return checked{}, errToken
}

// allows reports whether the account still accepts a token: the row exists, is active and has not ended, and has the password that it had when the
// token was issued. A locked account accepts its tokens, since anyone can cause a lock from outside.
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
