-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('shardinguser_familiar') IS NULL THEN
        -- The addresses from which an account logged in lately, and the budget of failed logins that they share. Only accounts
        -- whose policy gives familiar addresses a budget of their own have a row.
        CREATE TABLE shardinguser_familiar (
            username      VARCHAR(255) PRIMARY KEY,

            -- An IPv4 address or an IPv6 /64, and when a login from there was last accepted: the latest first, and at most ten.
            sources       TEXT[] NOT NULL,
            logins        TIMESTAMPTZ[] NOT NULL,
            last_login_at TIMESTAMPTZ NOT NULL,

            -- As in the table users.
            failed_login_attempts INTEGER NOT NULL DEFAULT 0,
            locked_until          TIMESTAMPTZ
        );

        -- For the purge of rows without a familiar address.
        CREATE INDEX shardinguser_familiar_last_login_at ON shardinguser_familiar (last_login_at);
    END IF;
END
$$;
-- +goose StatementEnd

ALTER TABLE shardinguser_ownership
    ADD COLUMN IF NOT EXISTS lockout_familiar BOOLEAN NOT NULL DEFAULT false;

-- Whether the attempt was charged to the familiar budget.
ALTER TABLE login_attempts
    ADD COLUMN IF NOT EXISTS familiar BOOLEAN NOT NULL DEFAULT false;
