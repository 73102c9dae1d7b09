// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package testenv

// inMemory returns "": only Linux has a standard folder in memory.
func inMemory() string { return "" }
