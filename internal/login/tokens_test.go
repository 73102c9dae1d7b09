// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var secret = strings.Repeat("cAnAry-s", 4)

// withTokens returns a world that signs with the secret in the file.
func withTokens(t testing.TB) (w *world, file string) {
	t.Helper()
	files := TokenOptions{Secret: filepath.Join(t.TempDir(), "secret")}
	write(t, files.Secret, secret)
	return withTokenFiles(t, files), files.Secret
}

func withTokenFiles(t testing.TB, files TokenOptions) *world {
	t.Helper()
	return newWorld(t, func(o *Options) {
		var err error
		if o.Tokens, err = NewTokens(tokenOptions(files, o.Now, o.Log)); err != nil {
			t.Fatal(err)
		}
	})
}

// tokenOptions completes options with the defaults of the settings.
func tokenOptions(o TokenOptions, now func() time.Time, log *slog.Logger) TokenOptions {
	o.Now, o.Log, o.Issuer, o.Audience = now, log, "shardinguser-operator", "sharding"
	if o.Lifetime == 0 {
		o.Lifetime = tokenLife
	}
	return o
}

const tokenLife = 24 * time.Hour

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// token logs alice in and returns the token.
func (w *world) token() string {
	w.t.Helper()
	var answer struct{ Token string }
	a := w.postLogIn("alice", right)
	if err := json.Unmarshal(a.Body.Bytes(), &answer); err != nil || answer.Token == "" {
		w.t.Fatalf("%d %s", a.Code, a.Body)
	}
	return answer.Token
}

// bearer returns the status of verify for a token.
func (w *world) bearer(token string) int { return w.serve(w.verifying("Bearer " + token)).Code }

func TestATokenHasTheClaimsOfTheShardingSystem(t *testing.T) {
	w, _ := withTokens(t)
	token, err := jwt.NewParser(jwt.WithTimeFunc(w.Now)).Parse(w.token(), func(*jwt.Token) (any, error) { return []byte(secret), nil })
	if err != nil || token.Method.Alg() != "HS256" {
		t.Fatalf("the token is signed by %v: %v", token.Method, err)
	}
	claims, err := json.Marshal(token.Claims)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"exp":1767409445,"iat":1767323045,"roles":["operator"],"username":"alice"}`
	if string(claims) != want {
		t.Errorf("the claims are %s, want %s", claims, want)
	}
}

func TestATokenIsValidAsLongAsItsUser(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*world)
		status int
	}{
		"at once":                {func(*world) {}, http.StatusOK},
		"just before it expires": {func(w *world) { w.clock.passes(tokenLife - time.Second) }, http.StatusOK},
		"when it expires":        {func(w *world) { w.clock.passes(tokenLife) }, http.StatusUnauthorized},
		"once the user is locked": {func(w *world) {
			w.edit("alice", func(r *user.Row) { r.LockedUntil = new(w.clock.now().Add(time.Hour)) })
		}, http.StatusOK},
		"once the user is deleted":     {func(w *world) { w.store.Edit("alice", func(*user.Row) *user.Row { return nil }) }, http.StatusUnauthorized},
		"once the user is deactivated": {func(w *world) { w.edit("alice", func(r *user.Row) { r.Active = false }) }, http.StatusUnauthorized},
		"once the password changed":    {func(w *world) { w.edit("alice", func(r *user.Row) { r.PasswordHash = hashOf(w.t, wrong) }) }, http.StatusUnauthorized},
		"with a clock slightly behind": {func(w *world) { w.clock.passes(-clockSkew) }, http.StatusOK},
		"issued in the future":         {func(w *world) { w.clock.passes(-clockSkew - time.Second) }, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := withTokens(t)
			token := w.token()
			tt.change(w)
			computed := w.Hasher.Compared()
			if got := w.bearer(token); got != tt.status {
				t.Errorf("%d, want %d", got, tt.status)
			}
			if w.Hasher.Compared() != computed {
				t.Error("a token made bcrypt compute")
			}
		})
	}
}

func TestTheRolesOfATokenAreThoseOfTheRow(t *testing.T) {
	w, _ := withTokens(t)
	token := w.token()
	w.edit("alice", func(r *user.Row) { r.Roles = []string{"viewer", "auditor"} })
	a := w.serve(w.verifying("bearer " + token))
	if got := a.Header().Get("X-Auth-Roles"); got != "viewer,auditor" || a.Header().Get("X-Auth-Username") != "alice" {
		t.Errorf("%d %v", a.Code, a.Header())
	}
}

// changedAt is a store that has the time of the last password change, and whether the operator applied it.
type changedAt struct {
	Accounts
	at   time.Time
	ours bool // the operator applied the row's hash
}

func (a changedAt) Observe(ctx context.Context, username string) (user.Observed, error) {
	o, err := a.Accounts.Observe(ctx, username)
	o.Ownership = &user.Ownership{State: user.Owned, PasswordChangedAt: &a.at}
	if a.ours && o.Row != nil && !password.IsStandIn(o.Row.PasswordHash) {
		o.Ownership.PasswordHash = o.Row.PasswordHash
	}
	return o, err
}

func TestTokensOfOtherPrograms(t *testing.T) {
	begin := worldBegins
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"username": "alice", "roles": []string{"admin"}, "iat": begin.Unix(), "exp": begin.Add(time.Hour).Unix()}
	}
	with := func(key string, value any) jwt.MapClaims {
		c := good()
		if c[key] = value; value == nil {
			delete(c, key)
		}
		return c
	}
	signed := func(method jwt.SigningMethod, key any, c jwt.MapClaims) string {
		raw, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	ours := []byte(secret)
	hs256 := func(c jwt.MapClaims) string { return signed(jwt.SigningMethodHS256, ours, c) }
	bound := jwt.NewWithClaims(jwt.SigningMethodHS256, good())
	bound.Header[passwordHeader] = "another one"
	boundElsewhere, err := bound.SignedString(ours)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		token   string
		changed time.Time // time of the last password change
		status  int
	}{
		"with our secret":                     {hs256(good()), begin.Add(-time.Hour), http.StatusOK},
		"before the password changed":         {hs256(good()), begin.Add(time.Second), http.StatusUnauthorized},
		"bound to another password":           {boundElsewhere, begin.Add(-time.Hour), http.StatusUnauthorized},
		"with another secret":                 {signed(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good()), begin, http.StatusUnauthorized},
		"with no signature":                   {signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good()), begin, http.StatusUnauthorized},
		"by another method":                   {signed(jwt.SigningMethodHS512, ours, good()), begin, http.StatusUnauthorized},
		"without exp":                         {hs256(with("exp", nil)), begin, http.StatusUnauthorized},
		"without iat":                         {hs256(with("iat", nil)), begin, http.StatusUnauthorized},
		"for longer than a day":               {hs256(with("exp", begin.Add(25*time.Hour).Unix())), begin, http.StatusUnauthorized},
		"expired":                             {hs256(with("exp", begin.Add(-time.Second).Unix())), begin, http.StatusUnauthorized},
		"issued in the future":                {hs256(with("iat", begin.Add(clockSkew+time.Second).Unix())), begin, http.StatusUnauthorized},
		"not yet valid":                       {hs256(with("nbf", begin.Add(time.Hour).Unix())), begin, http.StatusUnauthorized},
		"without a username":                  {hs256(with("username", nil)), begin, http.StatusUnauthorized},
		"of an unknown user":                  {hs256(with("username", "bob")), begin, http.StatusUnauthorized},
		"of an unencodable username":          {hs256(with("username", "alice\x00")), begin, http.StatusUnauthorized},
		"with a number as username":           {hs256(with("username", 7)), begin, http.StatusUnauthorized},
		"truncated":                           {hs256(good())[:40], begin, http.StatusUnauthorized},
		"empty":                               {"", begin, http.StatusUnauthorized},
		"malformed":                           {"a.b.c", begin, http.StatusUnauthorized},
		"with the signature of another token": {hs256(good())[:60] + hs256(with("username", "bob"))[60:], begin, http.StatusUnauthorized},
		"with a changed payload":              {strings.Replace(hs256(good()), ".", ".e30", 1), begin, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := withTokens(t)
			w.Accounts = changedAt{w.Accounts, tt.changed, false}
			if got := w.bearer(tt.token); got != tt.status {
				t.Errorf("%d, want %d", got, tt.status)
			}
			w.Accounts = changedAt{w.Accounts, tt.changed, true}
			if got := w.bearer(tt.token); got != http.StatusUnauthorized {
				t.Errorf("%d without the mark of a password that the operator applied", got)
			}
		})
	}
}

// While the row has a stand-in (the database was unavailable since the start, or a store in memory was restored), the real hash
// may replace it.
func TestATokenOutlivesAStandInButNotAPassword(t *testing.T) {
	hash := hashOf(t, right)
	becomes := func(hash string) func(*world) {
		return func(w *world) { w.edit("alice", func(r *user.Row) { r.PasswordHash = hash }) }
	}
	standInOf := func(plain string) func(*world) {
		return func(w *world) { becomes(w.Hasher.StandIn([]byte(plain)))(w) }
	}
	const hour = time.Hour
	for name, tt := range map[string]struct {
		issued  func(*world) // prepares the row before the token is issued
		checked func(*world) // prepares the row before the token is checked
		changed time.Duration
		ours    int // the status if the operator applies the password
		others  int // the status if another program does
	}{
		"from a stand-in, to the same":              {standInOf(right), func(*world) {}, -hour, 200, 200},
		"from a stand-in, to the hash":              {standInOf(right), becomes(hash), -hour, 401, 200},
		"from a stand-in, to another password":      {standInOf(right), becomes(hashOf(t, wrong)), time.Second, 401, 401},
		"from a stand-in, to another stand-in":      {standInOf(right), standInOf(wrong), time.Second, 401, 401},
		"from a hash, to its stand-in":              {becomes(hash), standInOf(right), -hour, 200, 200},
		"from a hash, to another stand-in":          {becomes(hash), standInOf(wrong), time.Second, 401, 401},
		"from a hash, to the same after a stand-in": {becomes(hash), func(w *world) { standInOf(right)(w); becomes(hash)(w) }, -hour, 200, 200},
		"from a hash, to another hash":              {becomes(hash), becomes(hashOf(t, right)), -hour, 401, 401},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := withTokens(t)
			tt.issued(w)
			token := w.token()
			tt.checked(w)
			accounts, changed := w.Accounts, w.clock.now().Add(tt.changed)
			for ours, status := range map[bool]int{true: tt.ours, false: tt.others} {
				w.Accounts = changedAt{accounts, changed, ours}
				if got := w.bearer(token); got != status {
					t.Errorf("%d, want %d, where the password is the operator's: %t", got, status, ours)
				}
			}
		})
	}
}

func TestATokenHasNoDigestOfAStandIn(t *testing.T) {
	w, _ := withTokens(t)
	w.edit("alice", func(r *user.Row) { r.PasswordHash = w.Hasher.StandIn([]byte(right)) })
	token, _, err := jwt.NewParser().ParseUnverified(w.token(), jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	if mark := token.Header[passwordHeader]; mark != unboundMark {
		t.Errorf("the header is %v", token.Header)
	}
}

const anotherSecret = "cAnAry-2cAnAry-2cAnAry-2cAnAry-2"

// forge returns a token for alice with the role admin, signed with a secret as another program can.
func (w *world) forge(key string) string {
	w.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"username": "alice", "roles": []string{"admin"}, "iat": w.Now().Unix(), "exp": w.Now().Add(tokenLife).Unix(),
	})
	raw, err := token.SignedString([]byte(key))
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func TestATokenIsNotDecidedWithoutAStore(t *testing.T) {
	w, _ := withTokens(t)
	token := w.token()
	w.Accounts = gone{}
	if got := w.bearer(token); got != http.StatusServiceUnavailable {
		t.Errorf("%d", got)
	}
	if a := w.verifyBasic("alice", right); a.Code != http.StatusServiceUnavailable || len(a.Header().Values("WWW-Authenticate")) != 0 {
		t.Errorf("%d %v", a.Code, a.Header())
	}
}

// gone is an unavailable store.
type gone struct{}

func (gone) Observe(context.Context, string) (user.Observed, error) {
	return user.Observed{}, unavailableStore()
}
