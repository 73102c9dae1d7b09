-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- A table of this name with our index is ours. Without it, the table belongs to another program, which is an error.
-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('login_attempts_lock') IS NULL THEN
        -- The audit trail: one row for each attempt to log in, written by the charge and settled once. An unsettled attempt stays
        -- pending, and has still used up one of the account's attempts.
        CREATE TABLE login_attempts (
            id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            attempted_at TIMESTAMPTZ NOT NULL,
            -- As it was sent if there was such an account, with unprintable characters escaped; otherwise a digest.
            username     VARCHAR(255) NOT NULL,
            outcome      TEXT NOT NULL
                CHECK (outcome IN ('pending', 'success', 'failed', 'locked', 'inactive', 'unknown')),
            source       VARCHAR(64) NOT NULL,
            user_agent   VARCHAR(255) NOT NULL,
            -- The lock that the attempt wrote, as the row of users had it then; NULL where it wrote none.
            locked_until TIMESTAMPTZ
        ) WITH (fillfactor = 80); -- the outcome of most rows changes once, and is in no index: there is room for that in the page

        -- For the recent logins of a user.
        CREATE INDEX login_attempts_username ON login_attempts (username, attempted_at);

        -- For failures by source.
        CREATE INDEX login_attempts_source ON login_attempts (source, attempted_at);

        -- For retention, and for recent attempts.
        CREATE INDEX login_attempts_attempted_at ON login_attempts (attempted_at);

        -- For the attempt that wrote the lock of a row, and so for whether it is settled.
        CREATE INDEX login_attempts_lock ON login_attempts (username, locked_until) WHERE locked_until IS NOT NULL;
    END IF;
END
$$;
-- +goose StatementEnd
