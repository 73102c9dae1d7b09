-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

ALTER TABLE shardinguser_ownership
    -- Why the current password is most likely not the intended one: names of suspicions, comma-separated. Never a part of the
    -- password itself.
    ADD COLUMN IF NOT EXISTS password_suspicion TEXT NOT NULL DEFAULT '',

    -- The password_version that password_suspicion is about. Another one, which an older version of the operator wrote, was not
    -- checked: its Secret is read once more.
    ADD COLUMN IF NOT EXISTS password_judged    TEXT NOT NULL DEFAULT '';
