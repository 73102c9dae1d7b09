-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

ALTER TABLE shardinguser_ownership
    -- When logins of the account end, as spec.validUntil has it. NULL for never. Logins compare it with the database's clock.
    ADD COLUMN IF NOT EXISTS valid_until TIMESTAMPTZ,

    -- Why the row is inactive although the resource asks for an active one: 'expired', or 'locked' by an administrator. Empty
    -- otherwise.
    ADD COLUMN IF NOT EXISTS withheld TEXT NOT NULL DEFAULT '';
