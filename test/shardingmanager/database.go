// SPDX-License-Identifier: Apache-2.0

package shardingmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/bcrypt"
)

// database keeps accounts in the table users.
type database struct {
	pool    *pgxpool.Pool
	options Options
	log     *journal

	mu    sync.Mutex
	cache map[string]user
}

// The real program sends all of these at once, so they are one transaction.
const (
	createTable = `
CREATE TABLE IF NOT EXISTS users (
    username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255) NOT NULL, roles JSONB NOT NULL DEFAULT '[]'::jsonb,
    active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, last_login_at TIMESTAMP,
    failed_login_attempts INTEGER NOT NULL DEFAULT 0, locked_until TIMESTAMP
);`

	createIndexes = `
CREATE INDEX IF NOT EXISTS idx_users_active ON users(active) WHERE active = true;
CREATE INDEX IF NOT EXISTS idx_users_locked ON users(locked_until) WHERE locked_until IS NOT NULL;`

	// The indexes precede the columns that they are on.
	createOAuth = `
CREATE INDEX IF NOT EXISTS idx_users_oauth ON users(oauth_provider, oauth_id) WHERE oauth_provider IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_users_email ON users(email) WHERE email IS NOT NULL;
ALTER TABLE users ADD COLUMN IF NOT EXISTS oauth_provider VARCHAR(50), ADD COLUMN IF NOT EXISTS oauth_id VARCHAR(255),
    ADD COLUMN IF NOT EXISTS email VARCHAR(255);`
)

// createNewer is the statement of the newer generation: the hash may be NULL, and all columns exist from the beginning.
var createNewer = strings.NewReplacer("password_hash VARCHAR(255) NOT NULL", "password_hash VARCHAR(255)",
	"locked_until TIMESTAMP\n", "locked_until TIMESTAMP, oauth_provider VARCHAR(50), oauth_id VARCHAR(255), email VARCHAR(255)\n").Replace(createTable)

func openDatabase(ctx context.Context, options Options, log *journal) (*database, error) {
	config, err := pgxpool.ParseConfig(options.DSN)
	if err != nil {
		return nil, fmt.Errorf("failed to open database: %w", err)
	}
	config.MaxConns = 25
	// The driver of the real program lets the server decide the types of parameters, and sends times as text.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("failed to open database: %w", err)
	}
	d := &database{pool: pool, options: options, log: log, cache: map[string]user{}}
	if err := d.start(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return d, nil
}

func (d *database) start(ctx context.Context) error {
	if err := d.pool.Ping(ctx); err != nil {
		return fmt.Errorf("failed to ping database: %w", err)
	}
	schema := createTable + createIndexes
	if d.options.Generation == Newer {
		schema = createNewer + createIndexes + createOAuth
	}
	if _, err := d.pool.Exec(ctx, schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("failed to initialize schema: %w", err)
	}
	empty, err := d.isEmpty(ctx)
	if err != nil {
		d.log.say("failed to ensure default users: %v", err) // the real program continues, too
	}
	if !empty || d.options.Generation == Newer {
		return nil
	}
	for name, hash := range wellKnown {
		if err := d.add(ctx, user{username: name, hash: hash, roles: []string{name}, active: true}); err != nil {
			d.log.say("failed to add default user: %v", err)
		}
	}
	return nil
}

func (d *database) close() { d.pool.Close() }

func (d *database) isEmpty(ctx context.Context) (bool, error) {
	var rows int
	err := d.pool.QueryRow(ctx, "SELECT count(*) FROM users").Scan(&rows)
	return err == nil && rows == 0, err
}

// find answers from the cache without reading the row. It caches a row before it checks active, and checks the lock
// before that.
func (d *database) find(ctx context.Context, username string) (user, error) {
	d.mu.Lock()
	cached, ok := d.cache[username]
	d.mu.Unlock()
	if ok {
		return cached, nil
	}
	u := user{username: username}
	var hash *string
	var roles []byte
	var lockedUntil *time.Time
	err := d.pool.QueryRow(ctx, "SELECT password_hash, roles, active, locked_until FROM users WHERE username = $1", username).
		Scan(&hash, &roles, &u.active, &lockedUntil)
	switch {
	case err != nil:
		return user{}, err
	case hash == nil && d.options.Generation == Older:
		return user{}, errors.New("the hash is NULL")
	case lockedUntil != nil && lockedUntil.After(time.Now()):
		return user{}, errors.New("account is locked")
	}
	if hash != nil {
		u.hash = *hash
	}
	if err := json.Unmarshal(roles, &u.roles); err != nil {
		d.log.say("failed to parse roles: %v", err)
		u.roles = []string{}
	}
	d.mu.Lock()
	d.cache[username] = u
	d.mu.Unlock()
	if !u.active {
		return user{}, errors.New("user is inactive")
	}
	return u, nil
}

func (d *database) forget(username string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.cache, username)
}

func (d *database) authenticate(ctx context.Context, username, password string) (user, error) {
	u, err := d.find(ctx, username)
	if err != nil {
		d.failed(ctx, username)
		return user{}, err
	}
	defer d.forget(username)
	if bcrypt.CompareHashAndPassword([]byte(u.hash), []byte(password)) != nil {
		d.failed(ctx, username)
		return user{}, errInvalid
	}
	d.warn(d.succeeded(ctx, username))
	return u, nil
}

func (d *database) succeeded(ctx context.Context, username string) error {
	return d.exec(ctx, `UPDATE users SET failed_login_attempts = 0, locked_until = NULL, last_login_at = CURRENT_TIMESTAMP,
		updated_at = CURRENT_TIMESTAMP WHERE username = $1`, username)
}

// failed counts a failure in its own statement, and writes a lock from the fifth failure on, even if there is one.
func (d *database) failed(ctx context.Context, username string) {
	if err := d.exec(ctx, `UPDATE users SET failed_login_attempts = failed_login_attempts + 1, updated_at = CURRENT_TIMESTAMP
		WHERE username = $1`, username); err != nil {
		d.warn(err)
		return
	}
	var failures int
	err := d.pool.QueryRow(ctx, "SELECT failed_login_attempts FROM users WHERE username = $1", username).Scan(&failures)
	if err != nil || failures < 5 {
		return
	}
	// This is how the real program's driver writes a time. A column without a zone drops the zone and keeps the local
	// wall time.
	until := time.Now().In(d.options.Zone).Add(15 * time.Minute).Format("2006-01-02 15:04:05.999999999Z07:00:00")
	d.warn(d.exec(ctx, "UPDATE users SET locked_until = $1, updated_at = CURRENT_TIMESTAMP WHERE username = $2", until, username))
}

// add inserts or overwrites an account.
func (d *database) add(ctx context.Context, u user) error {
	roles, err := json.Marshal(u.roles)
	if err != nil {
		return err
	}
	if d.options.Generation == Older {
		err = d.exec(ctx, `INSERT INTO users (username, password_hash, roles, active) VALUES ($1, $2, $3, $4)
			ON CONFLICT (username) DO UPDATE SET password_hash = EXCLUDED.password_hash, roles = EXCLUDED.roles,
			active = EXCLUDED.active, updated_at = CURRENT_TIMESTAMP`, u.username, u.hash, string(roles), u.active)
		d.forget(u.username)
		return err
	}
	if err := d.checkAdministrators(ctx, u); err != nil {
		return err
	}
	err = d.exec(ctx, `INSERT INTO users (username, password_hash, roles, active, oauth_provider, oauth_id, email) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (username) DO UPDATE SET password_hash = COALESCE(EXCLUDED.password_hash, users.password_hash), roles = EXCLUDED.roles,
		active = EXCLUDED.active, oauth_provider = EXCLUDED.oauth_provider, oauth_id = EXCLUDED.oauth_id, email = EXCLUDED.email,
		updated_at = CURRENT_TIMESTAMP`, u.username, u.hash, string(roles), u.active, u.provider, u.id, u.email)
	d.forget(u.username)
	return err
}

// checkAdministrators refuses a third active administrator.
func (d *database) checkAdministrators(ctx context.Context, u user) error {
	if !slices.Contains(u.roles, "admin") {
		return nil
	}
	var administrators int
	err := d.pool.QueryRow(ctx, `SELECT count(*) FROM users WHERE active AND 'admin' = ANY (SELECT jsonb_array_elements_text(roles))`).
		Scan(&administrators)
	if err != nil {
		return fmt.Errorf("failed to check admin count: %w", err)
	}
	if known, err := d.find(ctx, u.username); err == nil && slices.Contains(known.roles, "admin") {
		return nil
	}
	if administrators >= 2 {
		return fmt.Errorf("maximum of 2 admin users allowed (current: %d)", administrators)
	}
	return nil
}

func (d *database) exec(ctx context.Context, statement string, args ...any) error {
	_, err := d.pool.Exec(ctx, statement, args...)
	return err
}

func (d *database) warn(err error) {
	if err != nil {
		d.log.say("failed to record the attempt: %v", err)
	}
}

var errNoDatabase = errors.New("the manager serves from memory")

// Add adds an account with this hash, as the program itself does: it overwrites an existing one. Nil roles are stored
// as the JSON value null.
func (m *Manager) Add(ctx context.Context, username, hash string, roles ...string) error {
	if m.database == nil {
		return errNoDatabase
	}
	return m.database.add(ctx, user{username: username, hash: hash, roles: roles, active: true})
}

// LogInByOAuth logs in a person that an OAuth provider authenticated, by name or email, and returns the username. An
// active account with that email is linked. An account that is missing, inactive or locked is created under the name.
// An existing account of that name is overwritten, and then belongs to that person.
func (m *Manager) LogInByOAuth(ctx context.Context, provider, id, name string) (username string, err error) {
	d := m.database
	if d == nil || m.options.Generation != Newer {
		return "", errNoDatabase
	}
	const known = "SELECT username FROM users WHERE oauth_provider = $1 AND oauth_id = $2 AND active"
	if err := d.pool.QueryRow(ctx, known, provider, id).Scan(&username); err == nil {
		return username, d.succeeded(ctx, username)
	}
	email := ""
	if strings.Contains(name, "@") {
		email = name
		if err := d.pool.QueryRow(ctx, "SELECT username FROM users WHERE email = $1 AND active", email).Scan(&username); err == nil {
			if err := d.exec(ctx, `UPDATE users SET oauth_provider = $1, oauth_id = $2, updated_at = CURRENT_TIMESTAMP WHERE username = $3`,
				provider, id, username); err == nil {
				return username, d.succeeded(ctx, username)
			}
		}
	}
	base := strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "@", "_"), " ", "_")
	username = base
	for i := 1; ; i++ {
		if _, err := d.find(ctx, username); err != nil {
			break
		}
		username = fmt.Sprintf("%s_%d", base, i)
	}
	if err := d.add(ctx, user{username: username, roles: []string{"viewer"}, active: true, provider: provider, id: id, email: email}); err != nil {
		return "", err
	}
	return username, d.succeeded(ctx, username)
}
