-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('shardinguser_merges') IS NULL THEN
        -- The parts of outages that were merged, so that none is merged twice. What is older than a day goes with later ones.
        CREATE TABLE shardinguser_merges (
            id        TEXT PRIMARY KEY,
            merged_at TIMESTAMPTZ NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;
END
$$;
-- +goose StatementEnd
