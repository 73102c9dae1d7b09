// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/go-logr/logr"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// newHasher returns the Hasher of reconciles and logins, and reports if the built-in bcrypt does not work on this machine.
func newHasher(settings config.Settings, log logr.Logger) *password.Hasher {
	hasher := hasherOf(settings, log)
	if err := hasher.Fault(); err != nil {
		slog.New(logr.ToSlogHandler(log)).Warn("The built-in bcrypt failed its self-test on this machine; using golang.org/x/crypto/bcrypt, "+
			"which hashes less than half as many passwords per second", "error", err)
	}
	return hasher
}
