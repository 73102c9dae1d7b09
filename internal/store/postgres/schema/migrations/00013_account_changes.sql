-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- A table of this name with our index is ours. Without it, the table belongs to another program, which is an error.
-- +goose StatementBegin
DO $$
BEGIN
    IF pg_catalog.to_regclass('account_changes_username') IS NULL THEN
        -- One row for each change that the operator makes of an account, written by the statement that makes the change. It never
        -- holds a hash.
        CREATE TABLE account_changes (
            -- In the order of the changes of one username.
            id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            changed_at       TIMESTAMPTZ NOT NULL,
            -- With unprintable characters escaped, as in login_attempts.
            username         VARCHAR(255) NOT NULL,
            action           TEXT NOT NULL,

            -- The row of users before and after the change; NULL where there was none. Roles that are much longer than a resource can
            -- ask for are NULL too.
            old_roles        JSONB,
            new_roles        JSONB,
            old_active       BOOLEAN,
            new_active       BOOLEAN,
            password_changed BOOLEAN NOT NULL,

            -- The resource: the UID of its cluster's kube-system namespace, its system, namespace, name, UID and generation.
            cluster          TEXT NOT NULL,
            system           TEXT NOT NULL,
            namespace        TEXT NOT NULL,
            name             TEXT NOT NULL,
            uid              TEXT NOT NULL,
            generation       BIGINT NOT NULL,

            -- The field manager that asked, and the reason that people gave; empty where there is none.
            manager          TEXT NOT NULL,
            reason           TEXT NOT NULL
        );

        -- For the history of a user.
        CREATE INDEX account_changes_username ON account_changes (username, id);

        -- For retention, and for recent changes.
        CREATE INDEX account_changes_changed_at ON account_changes (changed_at);
    END IF;
END
$$;
-- +goose StatementEnd
