-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

ALTER TABLE shardinguser_ownership
    -- Why the password in force is most likely not the one that was meant: names of suspicions, comma-separated. Never anything
    -- of the password itself.
    ADD COLUMN IF NOT EXISTS password_suspicion TEXT NOT NULL DEFAULT '',

    -- The password_version of which password_suspicion tells. Another one, which an older version of the operator wrote, has not
    -- been judged: its Secret is read once more.
    ADD COLUMN IF NOT EXISTS password_judged    TEXT NOT NULL DEFAULT '';
