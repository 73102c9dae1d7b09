-- SPDX-License-Identifier: Apache-2.0

-- Every migration may run again, and makes only what is missing: when a table has gone, all of them do.

-- +goose Up

-- The table users is the sharding system's. It is made where it is missing, and where another program made it, it is
-- used as it is: it may not be ours to alter, and an index is its owner's to decide on.
-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('users') IS NULL THEN
        CREATE TABLE users (
            username VARCHAR(255) PRIMARY KEY,
            password_hash VARCHAR(255) NOT NULL,
            roles JSONB NOT NULL DEFAULT '[]'::jsonb,
            active BOOLEAN NOT NULL DEFAULT true,
            created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
            updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
            last_login_at TIMESTAMP,
            failed_login_attempts INTEGER NOT NULL DEFAULT 0,
            locked_until TIMESTAMP
        );
        CREATE INDEX idx_users_active ON users(active) WHERE active = true;
        CREATE INDEX idx_users_locked ON users(locked_until) WHERE locked_until IS NOT NULL;
    END IF;
END
$$;
-- +goose StatementEnd

-- One note for each username that a ShardingUser owns, or owned.
-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('shardinguser_ownership') IS NULL THEN
        CREATE TABLE shardinguser_ownership (
            username            VARCHAR(255) PRIMARY KEY,

            -- The owner: the UID of its cluster's kube-system namespace, and its own namespace, name and UID.
            cluster             TEXT NOT NULL,
            namespace           TEXT NOT NULL,
            name                TEXT NOT NULL,
            uid                 TEXT NOT NULL,

            state               TEXT NOT NULL CHECK (state IN ('owned', 'released', 'deleted')),
            generation          BIGINT NOT NULL,
            -- New with each change, and never used twice: also not after a note was purged and made anew.
            revision            BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
            deletion_policy     TEXT NOT NULL,

            -- What was last written as the password; empty where the password is not ours.
            password_version    TEXT NOT NULL,
            password_hash       TEXT NOT NULL,
            password_weak       BOOLEAN NOT NULL,
            password_changed_at TIMESTAMPTZ,

            unlock_handled      TEXT NOT NULL,
            changed_at          TIMESTAMPTZ NOT NULL DEFAULT pg_catalog.now()
        );

        -- For the purge of what was deleted long ago.
        CREATE INDEX shardinguser_ownership_deleted ON shardinguser_ownership (changed_at) WHERE state = 'deleted';
    END IF;
END
$$;
-- +goose StatementEnd
