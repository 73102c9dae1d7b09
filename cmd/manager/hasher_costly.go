// SPDX-License-Identifier: Apache-2.0

//go:build !cheaphashes

package main

import (
	"github.com/go-logr/logr"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// hasherOf returns a Hasher with the configured cost.
func hasherOf(settings config.Settings, _ logr.Logger) *password.Hasher {
	return password.NewHasher(settings.BcryptCost, settings.HashCores)
}
