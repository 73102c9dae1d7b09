-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- A digest of the password that password_hash was computed from, under a key that is not in the database. It is also about
-- password_hash: an older version of the operator writes another hash and leaves the digest, which then matches nothing.
ALTER TABLE shardinguser_ownership
    ADD COLUMN IF NOT EXISTS password_digest TEXT NOT NULL DEFAULT '';
