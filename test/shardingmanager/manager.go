// SPDX-License-Identifier: Apache-2.0

package shardingmanager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Generation is one of the two generations in use.
type Generation string

const (
	// Older is the generation that knows only passwords.
	Older Generation = "older"

	// Newer is the generation that also knows OAuth.
	Newer Generation = "newer"
)

// FallbackLine is in the log of a manager that serves its well-known accounts from memory.
const FallbackLine = "falling back to in-memory"

// The paths of the API.
const (
	loginPath = "/api/v1/auth/login"
	setupPath = "/api/v1/auth/setup"
)

// Options are the settings of a manager.
type Options struct {
	DSN        string
	Generation Generation
	Zone       *time.Location // of the process; nil for UTC
	Secret     string         // signs tokens
}

// user is an account as the manager knows it.
type user struct {
	username, hash string
	roles          []string
	active         bool
	provider, id   string // of OAuth
	email          string
}

// users is the source of accounts: the table, or the memory of the process.
type users interface {
	authenticate(ctx context.Context, username, password string) (user, error)
	add(ctx context.Context, u user) error
	isEmpty(ctx context.Context) (bool, error)
	close()
}

// Manager is a running stand-in. It is safe for concurrent use.
type Manager struct {
	URL string

	options  Options
	users    users
	server   *http.Server
	log      journal
	stopped  chan struct{}
	database *database // nil after a fallback
}

// Start starts a manager. It fails only if there is no free port: an unusable database makes the manager fall back.
func Start(ctx context.Context, options Options) (*Manager, error) {
	if options.Zone == nil {
		options.Zone = time.UTC
	}
	m := &Manager{options: options, stopped: make(chan struct{})}
	database, err := openDatabase(ctx, options, &m.log)
	switch {
	case err != nil:
		m.log.say("failed to initialize database user store, %s: %v", FallbackLine, err)
		m.users = newMemory()
	default:
		m.users, m.database = database, database
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		m.users.close()
		return nil, fmt.Errorf("start the stand-in of the sharding manager: %w", err)
	}
	m.URL = "http://" + listener.Addr().String()
	routes := http.NewServeMux()
	routes.HandleFunc("POST "+loginPath, m.logIn)
	routes.HandleFunc("POST "+setupPath, m.setUp)
	m.server = &http.Server{Handler: routes, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(m.stopped)
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			m.log.say("serving ended: %v", err)
		}
	}()
	return m, nil
}

// Stop stops the manager.
func (m *Manager) Stop() error {
	err := m.server.Close()
	<-m.stopped
	m.users.close()
	return err
}

// FellBack reports by the log whether the manager serves its well-known accounts from memory.
func (m *Manager) FellBack() bool { return strings.Contains(m.Log(), FallbackLine) }

// Log returns the log of the manager.
func (m *Manager) Log() string { return m.log.String() }

// credentials is the body of both requests.
type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (m *Manager) logIn(w http.ResponseWriter, r *http.Request) {
	given, ok := read(w, r)
	if !ok {
		return
	}
	// The database is asked whether or not the client waits.
	u, err := m.users.authenticate(context.WithoutCancel(r.Context()), given.Username, given.Password)
	if err != nil {
		m.log.say("authentication failed: %v", err)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "Invalid credentials")
		return
	}
	m.answer(w, http.StatusOK, u)
}

// setUp creates the first administrator of an empty table for any client.
func (m *Manager) setUp(w http.ResponseWriter, r *http.Request) {
	given, ok := read(w, r)
	if !ok {
		return
	}
	ctx := context.WithoutCancel(r.Context())
	empty, err := m.users.isEmpty(ctx)
	switch {
	case err != nil:
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "Failed to check setup status")
		return
	case m.options.Generation != Newer || !empty:
		refuse(w, http.StatusBadRequest, "BAD_REQUEST", "System already initialized.")
		return
	}
	hash, err := hashOf(given.Password)
	if err == nil {
		err = m.users.add(ctx, user{username: given.Username, hash: hash, roles: []string{"admin"}, active: true})
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", err.Error())
		return
	}
	m.answer(w, http.StatusCreated, user{username: given.Username, roles: []string{"admin"}})
}

// read reads a request. Names are trimmed.
func read(w http.ResponseWriter, r *http.Request) (given credentials, ok bool) {
	if err := json.NewDecoder(r.Body).Decode(&given); err != nil {
		refuse(w, http.StatusBadRequest, "BAD_REQUEST", "Invalid request body")
		return given, false
	}
	given.Username = strings.TrimSpace(given.Username)
	if given.Username == "" || given.Password == "" {
		refuse(w, http.StatusBadRequest, "BAD_REQUEST", "Username and password are required")
		return given, false
	}
	return given, true
}

func (m *Manager) answer(w http.ResponseWriter, status int, u user) {
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"username": u.username, "roles": u.roles, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
	}).SignedString([]byte(m.options.Secret))
	if err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "Failed to generate token")
		return
	}
	write(w, status, map[string]any{"token": token, "username": u.username, "roles": u.roles})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}

// Answer is a response of the API.
type Answer struct {
	Status int
	Roles  []string
	Token  string
}

// LogIn tries a password by the API.
func (m *Manager) LogIn(ctx context.Context, username, password string) (Answer, error) {
	return m.post(ctx, loginPath, credentials{username, password})
}

// SetUp requests the first administrator by the API, as any client can.
func (m *Manager) SetUp(ctx context.Context, username, password string) (Answer, error) {
	return m.post(ctx, setupPath, credentials{username, password})
}

func (m *Manager) post(ctx context.Context, path string, body credentials) (answer Answer, err error) {
	content, err := json.Marshal(body) //nolint:gosec // a login is a password on the wire
	if err != nil {
		return answer, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+path, bytes.NewReader(content))
	if err != nil {
		return answer, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err = io.ReadAll(response.Body)
	if err != nil {
		return answer, err
	}
	err = json.Unmarshal(content, &answer)
	answer.Status = response.StatusCode
	return answer, err
}

// journal is a log for concurrent writers.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) say(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = fmt.Fprintf(&j.text, format+"\n", args...)
}

// String returns the log.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
