-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- How many attempts a row counts. A row with an empty username counts rejected attempts of one source in one minute that have no
-- rows of their own.
ALTER TABLE login_attempts
    ADD COLUMN IF NOT EXISTS attempts INTEGER NOT NULL DEFAULT 1;
