-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- How many attempts a row stands for. A row with an empty username stands for refused attempts of one source in one minute,
-- beyond those that have rows of their own.
ALTER TABLE login_attempts
    ADD COLUMN IF NOT EXISTS attempts INTEGER NOT NULL DEFAULT 1;
