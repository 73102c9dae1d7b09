-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- Probes write here: a committed write to a table that no other program writes proves whether the database accepts writes.
CREATE TABLE IF NOT EXISTS shardinguser_probes (
    id        TEXT PRIMARY KEY,
    probed_at TIMESTAMPTZ NOT NULL DEFAULT pg_catalog.now()
);

-- The key identifies an attempt whose charge did not return, so that the operator can find and settle it later. It is NULL in
-- attempts of older versions.
ALTER TABLE login_attempts
    ADD COLUMN IF NOT EXISTS attempt_key TEXT;

-- unchecked: charged, and its password never checked, so that it does not count.
ALTER TABLE login_attempts DROP CONSTRAINT IF EXISTS login_attempts_outcome_check;
ALTER TABLE login_attempts ADD CONSTRAINT login_attempts_outcome_check
    CHECK (outcome IN ('pending', 'success', 'failed', 'locked', 'inactive', 'unknown', 'unchecked')) NOT VALID;
