-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- The decision of policies on an account is recorded with its owner, where logins on every replica read it.
ALTER TABLE shardinguser_ownership
    -- The row was deactivated, since no policy permits the owner.
    ADD COLUMN IF NOT EXISTS suspended        BOOLEAN NOT NULL DEFAULT false,

    -- When the account is locked, and for how long. Zero leaves it to the settings of logins. If the length to which locks grow is
    -- zero, they do not grow.
    ADD COLUMN IF NOT EXISTS lockout_attempts INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS lockout_duration INTERVAL NOT NULL DEFAULT '0',
    ADD COLUMN IF NOT EXISTS lockout_longest  INTERVAL NOT NULL DEFAULT '0',
    ADD COLUMN IF NOT EXISTS lockout_exempt   BOOLEAN NOT NULL DEFAULT false;
