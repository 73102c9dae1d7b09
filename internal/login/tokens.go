// SPDX-License-Identifier: Apache-2.0

package login

import (
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
	// A print that stands for the hash in memory tells another process nothing, nor this one once the hash takes its
	// place: such a token has no digest, and as long as there is a print none is looked at.
	passwordHeader = "pwd"
)

// ErrShortSecret says that a signing secret is too short to be one.
var ErrShortSecret = fmt.Errorf("the signing secret is shorter than %d bytes: make one by `openssl rand -base64 48`", MinSecretBytes)

// CheckSecret tells whether a file's contents can be a signing secret.
func CheckSecret(content []byte) error {
	if len(password.Trim(content)) < MinSecretBytes {
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

// Tokens issues tokens and checks them. The secret is read again when its file changes; the former one is still good
// for checking until the last token that it can have signed ran out, or the process ends. It may be used by any number
// of goroutines.
type Tokens struct {
	now  func() time.Time
	ring mounted[keyring]
}

// keyring is never changed, only replaced.
type keyring struct {
	current []byte
	former  []formerKey
}

type formerKey struct {
	key   []byte
	until time.Time
}

// NewTokens reads the secret. Of its file, one trailing newline does not count.
func NewTokens(file string, now func() time.Time, log *slog.Logger) (*Tokens, error) {
	t := &Tokens{now: now}
	t.ring = mounted[keyring]{files: []string{file}, parse: t.next, now: now, log: log}
	if err := t.ring.start(); err != nil {
		return nil, fmt.Errorf("read the signing secret: %w", err)
	}
	return t, nil
}

// next is the keyring with a new secret.
func (t *Tokens) next(contents [][]byte) (keyring, error) {
	if err := CheckSecret(contents[0]); err != nil {
		return keyring{}, err
	}
	before, now := t.ring.value, t.now()
	after := keyring{current: slices.Clone(password.Trim(contents[0]))}
	if before.current != nil {
		before.former = append(slices.Clone(before.former), formerKey{key: before.current, until: now.Add(tokenLife)})
	}
	for _, former := range before.former {
		if now.Before(former.until) && !hmac.Equal(former.key, after.current) {
			after.former = append(after.former, former)
		}
	}
	return after, nil
}

// issue returns a token of an account that has this hash.
func (t *Tokens) issue(username string, roles []string, hash string) (string, error) {
	key, now := t.ring.get().current, t.now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		Username: username,
		Roles:    listed(roles),
		RegisteredClaims: jwt.RegisteredClaims{
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
		},
	})
	if !password.IsPrint(hash) {
		token.Header[passwordHeader] = passwordDigest(key, hash)
	}
	return token.SignedString(key)
}

// checked is a token whose signature and times are right.
type checked struct {
	claims
	key    []byte // that it was signed with
	digest string // of the row's hash; "" in tokens that another program signed, or that were issued by a print
}

var errToken = errors.New("not a token of ours that is still good")

// check tells whose a token is. Whether he may still use it is for the account to tell, see allows.
//
// A token has one spelling: base64 has several of the same bytes, by bits at an end that count for nothing and by line ends
// that it skips, and whoever keeps a list of tokens, of revoked ones say, would be told another one.
func (t *Tokens) check(raw string) (checked, error) {
	if strings.ContainsAny(raw, "\r\n") {
		return checked{}, errToken
	}
	ring, now := t.ring.get(), t.now()
	keys := [][]byte{ring.current}
	for _, former := range ring.former {
		if now.Before(former.until) {
			keys = append(keys, former.key)
		}
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	for _, key := range keys {
		c := checked{key: key}
		token, err := parser.ParseWithClaims(raw, &c.claims, func(*jwt.Token) (any, error) { return key, nil })
		if errors.Is(err, jwt.ErrTokenSignatureInvalid) {
			continue
		}
		if err != nil || c.Username == "" || c.IssuedAt == nil || c.ExpiresAt.Sub(c.IssuedAt.Time) > tokenLife {
			return checked{}, errToken
		}
		if digest, there := token.Header[passwordHeader]; there {
			// One that is no text is compared with, too, and differs.
			c.digest = fmt.Sprint(digest)
		}
		return c, nil
	}
	return checked{}, errToken
}

// allows tells whether the account still stands by a token: it is there, active, and has the password that it had when
// the token was issued. A lock is no reason to refuse a token: anybody can bring one about, from outside.
func (c checked) allows(o user.Observed) bool {
	if o.Row == nil || !o.Row.Active {
		return false
	}
	if c.digest != "" && !password.IsPrint(o.Row.PasswordHash) {
		return hmac.Equal([]byte(c.digest), []byte(passwordDigest(c.key, o.Row.PasswordHash)))
	}
	// Without a digest, as in a token that another program signed with our secret, only the times are known, to the
	// second.
	return o.Ownership == nil || o.Ownership.PasswordChangedAt == nil || !c.IssuedAt.Before(*o.Ownership.PasswordChangedAt)
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
		s.Log.Error("An account could not be looked up", "error", err.Error())
		return Result{Outcome: Unavailable}
	case !token.allows(o):
		return Result{Outcome: Superseded}
	}
	return Result{Outcome: Succeeded, Username: token.Username, Roles: o.Row.Roles}
}
