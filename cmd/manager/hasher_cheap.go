// SPDX-License-Identifier: Apache-2.0

//go:build cheaphashes

package main

import (
	"github.com/go-logr/logr"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// hasherOf returns a Hasher for short test runs. It keeps a cost above the lowest setting, which tests of the cost set.
func hasherOf(settings config.Settings, log logr.Logger) *password.Hasher {
	if settings.BcryptCost > password.MinCost {
		return password.NewHasher(settings.BcryptCost, settings.HashCores)
	}
	log.Info("Built for tests: password hashes have the lowest cost of bcrypt and protect nothing")
	return password.NewTestHasher(settings.HashCores)
}
