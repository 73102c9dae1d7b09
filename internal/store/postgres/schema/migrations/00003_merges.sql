-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('shardinguser_merges') IS NULL THEN
        -- IDs of merged batches, so that none is merged twice. Later merges delete those older than a day.
        CREATE TABLE shardinguser_merges (
            id        TEXT PRIMARY KEY,
            merged_at TIMESTAMPTZ NOT NULL DEFAULT pg_catalog.now()
        );
    END IF;
END
$$;
-- +goose StatementEnd
