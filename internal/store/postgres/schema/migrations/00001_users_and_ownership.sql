-- SPDX-License-Identifier: Apache-2.0

-- Every migration may run again, and creates only what is missing: when a table is gone, all of them run.

-- +goose Up

-- The table users belongs to the sharding system. It is created if it is missing. If another program created it, it is used as it
-- is: the operator may not alter it, and its owner decides on indexes.
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

-- One ownership record for each username that a ShardingUser owns, or owned.
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
            -- New with each change, and never used twice, not even after a record was purged and created again.
            revision            BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
            deletion_policy     TEXT NOT NULL,

            -- The password that was last written; empty where the operator does not own the password.
            password_version    TEXT NOT NULL,
            password_hash       TEXT NOT NULL,
            password_weak       BOOLEAN NOT NULL,
            password_changed_at TIMESTAMPTZ,

            unlock_handled      TEXT NOT NULL,
            changed_at          TIMESTAMPTZ NOT NULL DEFAULT pg_catalog.now()
        );

        -- For the purge of old tombstones.
        CREATE INDEX shardinguser_ownership_deleted ON shardinguser_ownership (changed_at) WHERE state = 'deleted';
    END IF;
END
$$;
-- +goose StatementEnd
