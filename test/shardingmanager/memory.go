// SPDX-License-Identifier: Apache-2.0

package shardingmanager

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Defaults are the accounts, by username with their passwords, that an older manager inserts into an empty table. Every
// manager has them in memory when it falls back.
func Defaults() map[string]string {
	return map[string]string{"admin": "admin123", "operator": "operator123", "viewer": "viewer123"}
}

// wellKnown are the hashes of the default accounts. They are the same in every installation.
var wellKnown = map[string]string{
	"admin":    "$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW",
	"operator": "$2a$10$oDZulSnupJh0OdVrJImYNO/HrxjmUx8QA.ICMSA/Pdskkdwd68.bu",
	"viewer":   "$2a$10$QyJBIVEeUVYYYdRELwpeLe7E5y2vvDIWdIMlIoXOjQCYWj2ozssDG",
}

var errInvalid = errors.New("invalid password")

// memory has the default accounts. It counts and locks nothing.
type memory struct {
	mu    sync.Mutex
	users map[string]user
}

func newMemory() *memory {
	m := &memory{users: map[string]user{}}
	for name, hash := range wellKnown {
		m.users[name] = user{username: name, hash: hash, roles: []string{name}, active: true}
	}
	return m
}

func (m *memory) authenticate(_ context.Context, username, password string) (user, error) {
	m.mu.Lock()
	u, ok := m.users[username]
	m.mu.Unlock()
	if !ok || bcrypt.CompareHashAndPassword([]byte(u.hash), []byte(password)) != nil {
		return user{}, errInvalid
	}
	return u, nil
}

func (m *memory) add(_ context.Context, u user) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users[u.username] = u
	return nil
}

func (m *memory) isEmpty(context.Context) (bool, error) { return false, nil }

func (m *memory) close() {}

func hashOf(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
	return string(hash), err
}
