-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- What policies say of an account is noted with its owner, where the log-in side of every replica reads it.
ALTER TABLE shardinguser_ownership
    -- The row was deactivated, since no policy permits the owner.
    ADD COLUMN IF NOT EXISTS suspended        BOOLEAN NOT NULL DEFAULT false,

    -- When the account is locked, and for how long. What is zero is as the settings of the log-in side have it, but for
    -- the length to which locks grow: where that is zero, they do not.
    ADD COLUMN IF NOT EXISTS lockout_attempts INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS lockout_duration INTERVAL NOT NULL DEFAULT '0',
    ADD COLUMN IF NOT EXISTS lockout_longest  INTERVAL NOT NULL DEFAULT '0',
    ADD COLUMN IF NOT EXISTS lockout_exempt   BOOLEAN NOT NULL DEFAULT false;
