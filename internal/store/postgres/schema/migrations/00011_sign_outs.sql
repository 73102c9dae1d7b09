-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

ALTER TABLE shardinguser_ownership
    ADD COLUMN IF NOT EXISTS sign_out_handled TEXT NOT NULL DEFAULT '',

    -- When the last sign-out was handled, in full seconds, as a status has it. Tokens are bound to it. Each is later than the one
    -- before.
    ADD COLUMN IF NOT EXISTS signed_out_at TIMESTAMPTZ;
