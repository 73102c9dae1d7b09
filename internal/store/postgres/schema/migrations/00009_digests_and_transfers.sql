-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

ALTER TABLE shardinguser_ownership
    -- A digest of the password that password_hash was computed from, under a key that is not in the database. It is also about
    -- password_hash: an older version of the operator writes another hash and leaves the digest, which then matches nothing.
    ADD COLUMN IF NOT EXISTS password_digest TEXT NOT NULL DEFAULT '',

    -- The owner before the last transfer, as cluster/system/namespace/name, and the time of the transfer.
    ADD COLUMN IF NOT EXISTS transferred_from TEXT NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS transferred_at TIMESTAMPTZ;
