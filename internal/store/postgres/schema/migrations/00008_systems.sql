-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- The sharding system of the owner, as spec.system has it. The empty string is the default system, and what operators write that
-- do not know systems.
ALTER TABLE shardinguser_ownership
    ADD COLUMN IF NOT EXISTS system TEXT NOT NULL DEFAULT '';
