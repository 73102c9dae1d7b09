// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func pemOf(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t testing.TB, private any, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	return pemOf(t, "PRIVATE KEY", der, err)
}

func newEd25519(t testing.TB) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return pkcs8(t, private, err)
}

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// withKey returns a world that signs with the key in the file, and whose secret is in another file.
func withKey(t testing.TB, content string) (w *world, o TokenOptions) {
	t.Helper()
	folder := t.TempDir()
	o = TokenOptions{Key: filepath.Join(folder, "key"), Secret: filepath.Join(folder, "secret"), Previous: filepath.Join(folder, "previous")}
	write(t, o.Key, content)
	write(t, o.Secret, secret)
	return withTokenFiles(t, o), o
}

// keySet returns the published keys, read as another program reads them.
func (w *world) keySet() map[string]crypto.PublicKey {
	w.t.Helper()
	answer := w.serve(w.request(http.MethodGet, keySetPath, ""))
	if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" ||
		answer.Header().Get("Cache-Control") != "public, max-age=300" {
		w.t.Fatalf("%d %v", answer.Code, answer.Header())
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(answer.Body.Bytes(), &set); err != nil {
		w.t.Fatal(err)
	}
	number := func(text string) *big.Int {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			w.t.Fatal(err)
		}
		return new(big.Int).SetBytes(raw)
	}
	keys := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if _, private := k["d"]; private || k["use"] != "sig" || k["kid"] == "" {
			w.t.Errorf("published %v", k)
		}
		switch k["kty"] + k["alg"] {
		case "OKPEdDSA":
			x := make([]byte, ed25519.PublicKeySize)
			keys[k["kid"]] = ed25519.PublicKey(number(k["x"]).FillBytes(x))
		case "ECES256":
			keys[k["kid"]] = &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(k["x"]), Y: number(k["y"])} //nolint:staticcheck // as a JWK has it
		case "RSARS256":
			keys[k["kid"]] = &rsa.PublicKey{N: number(k["n"]), E: int(number(k["e"]).Int64())}
		default:
			w.t.Errorf("published %v", k)
		}
	}
	return keys
}

// isVerifiedBy checks a token as a gateway does that has these keys.
func isVerifiedBy(keys map[string]crypto.PublicKey, now func() time.Time, raw string) error {
	_, err := jwt.NewParser(jwt.WithTimeFunc(now), jwt.WithIssuer("shardinguser-operator"), jwt.WithAudience("sharding"),
		jwt.WithSubject("alice"), jwt.WithExpirationRequired(), jwt.WithValidMethods([]string{"EdDSA", "ES256", "RS256"})).
		Parse(raw, func(token *jwt.Token) (any, error) {
			id, _ := token.Header["kid"].(string)
			return keys[id], nil
		})
	return err
}

func TestTokensOfAKeyAreVerifiedByThePublishedKey(t *testing.T) {
	p256 := newP256(t)
	sec1, errSEC1 := x509.MarshalECPrivateKey(p256)
	large := newRSA(t, 2048)
	for name, content := range map[string]string{
		"Ed25519":        newEd25519(t),
		"P-256":          pkcs8(t, p256, nil),
		"P-256 in SEC 1": pemOf(t, "EC PRIVATE KEY", sec1, errSEC1),
		"P-256 after its parameters": string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}})) +
			pemOf(t, "EC PRIVATE KEY", sec1, nil),
		"RSA":           pkcs8(t, large, nil),
		"RSA in PKCS 1": pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(large), nil),
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := withKey(t, content)
			token := w.token()
			if err := isVerifiedBy(w.keySet(), w.Now, token); err != nil {
				t.Error(err)
			}
			if got := w.bearer(token); got != http.StatusOK {
				t.Errorf("our own verify: %d", got)
			}
			if got := w.bearer(w.forge(secret)); got != http.StatusOK {
				t.Errorf("a token of the sharding manager: %d", got)
			}
		})
	}
}

// A token must not choose how it is verified.
func TestATokenCannotChooseItsAlgorithmOrKey(t *testing.T) {
	public := func(private crypto.Signer) []byte {
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		return []byte(pemOf(t, "PUBLIC KEY", der, err))
	}
	ours, theirs := newP256(t), newP256(t)
	w, _ := withKey(t, pkcs8(t, ours, nil))
	id := ""
	for published := range w.keySet() {
		id = published
	}
	claims := func(change ...any) jwt.MapClaims {
		c := jwt.MapClaims{
			"username": "alice", "roles": []string{"admin"}, "iat": w.Now().Unix(), "exp": w.Now().Add(time.Hour).Unix(),
			"iss": "shardinguser-operator", "aud": "sharding",
		}
		for i := 0; i < len(change); i += 2 {
			c[change[i].(string)] = change[i+1] //nolint:forcetypeassert // a test
		}
		return c
	}
	signed := func(method jwt.SigningMethod, k any, c jwt.MapClaims, header ...any) string {
		token := jwt.NewWithClaims(method, c)
		for i := 0; i < len(header); i += 2 {
			token.Header[header[i].(string)] = header[i+1] //nolint:forcetypeassert // a test
		}
		raw, err := token.SignedString(k)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	es256 := jwt.SigningMethodES256
	if got := w.bearer(signed(es256, ours, claims(), "kid", id)); got != http.StatusOK {
		t.Errorf("a token as ours: %d", got)
	}
	for name, token := range map[string]string{
		"HS256 with the public key as secret": signed(jwt.SigningMethodHS256, public(ours), claims(), "kid", id),
		"none":                                signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(), "kid", id),
		"another key with our ID":             signed(es256, theirs, claims(), "kid", id),
		"another key in the header":           signed(es256, theirs, claims(), "kid", id, "jwk", map[string]string{"kty": "EC"}, "jku", "https://evil.example"),
		"our key without an ID":               signed(es256, ours, claims()),
		"our key with another ID":             signed(es256, ours, claims(), "kid", "other"),
		"our key with a number as ID":         signed(es256, ours, claims(), "kid", 7),
		"an extension that we do not know":    signed(es256, ours, claims(), "kid", id, "crit", []string{"b64"}),
		"for another audience":                signed(es256, ours, claims("aud", "other"), "kid", id),
		"of another issuer":                   signed(es256, ours, claims("iss", "other"), "kid", id),
		"HS256 with an extension":             signed(jwt.SigningMethodHS256, []byte(secret), claims(), "crit", []string{"b64"}),
	} {
		if got := w.bearer(token); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// Each of two replicas gets the changed files at another time, and a gateway keeps the published keys for as long as it may.
func TestAKeyIsReplacedWithoutARefusedRequest(t *testing.T) {
	first, second := newEd25519(t), pkcs8(t, newP256(t), nil)
	replicas := make([]*world, 2)
	files := make([]TokenOptions, 2)
	for i := range replicas {
		replicas[i], files[i] = withKey(t, first)
		replicas[i].Attempts, replicas[i].Accounts = replicas[0].Attempts, replicas[0].Accounts // one database
	}
	var tokens []string
	cached := replicas[0].keySet() // the gateway asks a replica, and keeps the answer for its time
	step := func(i int, current, previous string) {
		write(t, files[i].Key, current)
		write(t, files[i].Previous, previous)
		for _, w := range replicas {
			w.clock.passes(serving.ReloadInterval)
		}
		for _, w := range replicas {
			tokens = append(tokens, w.token())
		}
		for _, token := range tokens {
			if err := isVerifiedBy(cached, replicas[0].Now, token); err != nil {
				t.Errorf("the gateway: %v", err)
			}
			for j, w := range replicas {
				if got := w.bearer(token); got != http.StatusOK {
					t.Errorf("replica %d: %d", j, got)
				}
			}
		}
	}
	step(0, first, second) // the new key is published
	step(1, first, second)
	cached = replicas[1].keySet() // after max-age
	step(0, second, first)        // it signs
	step(1, second, first)
	for _, w := range replicas { // the old one ends
		w.clock.passes(tokenLife)
	}
	tokens = nil
	for i := range replicas {
		step(i, second, "")
	}
	if got := len(replicas[0].keySet()); got != 1 {
		t.Errorf("%d keys are published in the end", got)
	}
}

func TestAReplacedKeyIsWorthNothingAtOnce(t *testing.T) {
	w, o := withKey(t, newEd25519(t))
	token := w.token()
	write(t, o.Key, newEd25519(t))
	w.clock.passes(serving.ReloadInterval)
	if got := w.bearer(token); got != http.StatusUnauthorized {
		t.Errorf("%d", got)
	}
}

func TestATokenOfAKeyEndsWithThePassword(t *testing.T) {
	w, _ := withKey(t, newEd25519(t))
	token := w.token()
	w.edit("alice", func(r *user.Row) { r.PasswordHash = hashOf(t, wrong) })
	if got := w.bearer(token); got != http.StatusUnauthorized {
		t.Errorf("%d", got)
	}
}

// signedOutAt is a store that has the time of the last sign-out.
type signedOutAt struct {
	Accounts
	at *time.Time
}

func (a *signedOutAt) Observe(ctx context.Context, username string) (user.Observed, error) {
	o, err := a.Accounts.Observe(ctx, username)
	o.Ownership = &user.Ownership{State: user.Owned, SignedOutAt: a.at}
	return o, err
}

// The clock of this replica is an hour ahead or behind: tokens are bound to a sign-out without comparing clocks.
func TestATokenFromBeforeASignOutIsRefused(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"by the same clock": 0, "with a clock ahead": -time.Hour, "with a clock behind": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w, _ := withKey(t, newEd25519(t))
			accounts := &signedOutAt{Accounts: w.Accounts}
			w.Accounts = accounts
			token, foreign := w.token(), w.forge(secret)
			if got := w.bearer(token); got != http.StatusOK {
				t.Errorf("before: %d", got)
			}
			accounts.at = new(w.Now().Add(ahead))
			if got := w.bearer(token); got != http.StatusUnauthorized {
				t.Errorf("after: %d", got)
			}
			if got := w.bearer(foreign); ahead >= 0 && got != http.StatusUnauthorized {
				t.Errorf("a token of another program: %d", got)
			}
			hash := w.row("alice").PasswordHash
			fresh, err := w.Tokens.issue(Result{Username: "alice", hash: hash, signOut: accounts.at})
			if err != nil {
				t.Fatal(err)
			}
			if got := w.bearer(fresh); got != http.StatusOK {
				t.Errorf("a new token: %d", got)
			}
			accounts.at = new(accounts.at.Add(time.Second))
			if got := w.bearer(fresh); got != http.StatusUnauthorized {
				t.Errorf("after another sign-out: %d", got)
			}
		})
	}
}

func TestKeysThatCannotSignAreRejected(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	public, publicErr := x509.MarshalPKIXPublicKey(newP256(t).Public())
	for name, content := range map[string]string{
		"empty":        "",
		"a secret":     secret,
		"RSA of 1024":  pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(newRSA(t, 1024)), nil),
		"P-384":        pkcs8(t, p384, err),
		"a public key": pemOf(t, "PUBLIC KEY", public, publicErr),
		"two keys":     newEd25519(t) + newEd25519(t),
		"damaged":      pemOf(t, "PRIVATE KEY", []byte("cAnAry"), nil),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			write(t, file, content)
			_, err := NewTokens(tokenOptions(TokenOptions{Key: file}, time.Now, slog.New(slog.DiscardHandler)))
			if err == nil || !strings.Contains(err.Error(), "openssl genpkey") || strings.Contains(err.Error(), "cAnAry") {
				t.Errorf("NewTokens = %v", err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "secret")
	write(t, file, newEd25519(t))
	if _, err := NewTokens(tokenOptions(TokenOptions{Secret: file}, time.Now, slog.New(slog.DiscardHandler))); err == nil ||
		!strings.Contains(err.Error(), "--jwt-signing-key-file") {
		t.Errorf("a key as secret: %v", err)
	}
}

func TestKeysArePublishedOnlyWhereThereAreSome(t *testing.T) {
	w, _ := withTokens(t)
	if got := w.serve(w.request(http.MethodGet, keySetPath, "")).Code; got != http.StatusNotFound {
		t.Errorf("with a secret: %d", got)
	}
	w = newWorld(t, nil)
	if got := w.serve(w.request(http.MethodGet, keySetPath, "")).Code; got != http.StatusNotFound {
		t.Errorf("without tokens: %d", got)
	}
	w, _ = withKey(t, newEd25519(t))
	if got := w.serve(w.request(http.MethodPost, keySetPath, "")).Code; got != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", got)
	}
}

// RFC 7638 section 3.1 and RFC 8037 appendix A.3 have keys with their thumbprints.
func TestThumbprintsAreThoseOfTheStandards(t *testing.T) {
	decode := func(text string) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for want, public := range map[string]crypto.PublicKey{
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": ed25519.PublicKey(decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": &rsa.PublicKey{E: 65537, N: new(big.Int).SetBytes(decode(
			"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W" +
				"-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbIS" +
				"D08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"))},
	} {
		j, err := newJWK(public)
		if err != nil || j.ID != want {
			t.Errorf("%s, %v; want %s", j.ID, err, want)
		}
	}
}

func TestALifetimeEndsOlderTokens(t *testing.T) {
	folder := t.TempDir()
	o := TokenOptions{Secret: filepath.Join(folder, "secret"), Lifetime: time.Hour}
	write(t, o.Secret, secret)
	w := withTokenFiles(t, o)
	ours, managers := w.token(), w.forge(secret) // which lasts a day
	w.clock.passes(time.Hour - time.Second)
	for name, token := range map[string]string{"ours": ours, "the sharding manager's": managers} {
		if got := w.bearer(token); got != http.StatusOK {
			t.Errorf("%s a second before the end: %d", name, got)
		}
	}
	w.clock.passes(time.Second)
	for name, token := range map[string]string{"ours": ours, "the sharding manager's": managers} {
		if got := w.bearer(token); got != http.StatusUnauthorized {
			t.Errorf("%s at the end: %d", name, got)
		}
	}
}
