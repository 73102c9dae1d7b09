-- SPDX-License-Identifier: Apache-2.0

-- Creates one table users for the sharding manager and the operator, and a database role for each.
-- docs/beside-the-sharding-manager.md explains each right.
--
--   psql "$ADMIN_DSN" -f config/database/sharding-manager.sql
--   psql "$ADMIN_DSN" -v schema=accounts -v manager=sm -v operator=su -f config/database/sharding-manager.sql
--
-- Run it as a superuser, or as the owner of the database and the table with the right to create roles (CREATEROLE). You can run it
-- before the programs start or while they run, and repeatedly. It sets no passwords: set one for each role.

\set ON_ERROR_STOP on

-- schema    the schema of the table users
-- manager   the role of the sharding manager's USER_DATABASE_DSN, which owns the table afterwards
-- operator  the role of the operator's --user-database-dsn-file; the controller's role, if there are two
\if :{?schema} \else \set schema public \endif
\if :{?manager} \else \set manager sharding_manager \endif
\if :{?operator} \else \set operator shardinguser \endif

BEGIN;

-- Functions and operators of other roles in the schema must not run with an administrator's rights.
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;

SELECT COALESCE((SELECT bool_or(r.rolname <> ALL (ARRAY[:'manager', :'operator']) AND NOT r.rolsuper) FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
           WHERE n.nspname = :'schema' AND c.relname = 'users'), false) AS is_taken,
       COALESCE((SELECT pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = :'schema' AND c.relname = 'users'), '') AS former_owner
\gset

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY[:'manager', :'operator']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
-- Only a superuser or a member of a role may make it the owner of a table, and change the table later. The membership ends with
-- the script.
SELECT NOT rolsuper AND rolname <> :'manager' AND NOT pg_has_role(rolname, :'manager', 'USAGE') AS is_lent FROM pg_roles WHERE rolname = CURRENT_USER
\gset
\if :is_lent
GRANT :"manager" TO CURRENT_USER;
\endif

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name) FROM unnest(ARRAY[:'manager', :'operator']) AS name
\gexec

-- The sharding manager writes CURRENT_TIMESTAMP into columns without a time zone.
SELECT format('ALTER ROLE %I IN DATABASE %I SET timezone TO %L', :'manager', current_database(), 'UTC')
\gexec

-- The operator sets UTC itself, but another program may connect with its role.
SELECT format('ALTER ROLE %I IN DATABASE %I SET timezone TO %L', :'operator', current_database(), 'UTC')
\gexec

-- The sharding manager names no schema. With another search_path it would create another table users, with its default accounts,
-- or fall back to memory.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path TO %I', :'manager', current_database(), :'schema')
\gexec

-- Both create objects when they start, and no other role may. The sharding manager requires CREATE at every start, even if it
-- creates nothing.
REVOKE CREATE ON SCHEMA :"schema" FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA :"schema" TO :"manager", :"operator";

-- The table as both create it, with the three columns that the newer generation of the sharding manager requires.
CREATE TABLE IF NOT EXISTS :"schema".users (
-- Generated from internal/store/postgres/schema/migrations/00001_users_and_ownership.sql: begin
    username VARCHAR(255) PRIMARY KEY,
    password_hash VARCHAR(255) NOT NULL,
    roles JSONB NOT NULL DEFAULT '[]'::jsonb,
    active BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_login_at TIMESTAMP,
    failed_login_attempts INTEGER NOT NULL DEFAULT 0,
    locked_until TIMESTAMP
-- Generated: end
);
ALTER TABLE :"schema".users
    ADD COLUMN IF NOT EXISTS oauth_provider VARCHAR(50),
    ADD COLUMN IF NOT EXISTS oauth_id VARCHAR(255),
    ADD COLUMN IF NOT EXISTS email VARCHAR(255);

-- The newer generation overwrites an inactive or locked account when an OAuth user with the same name logs in: it inserts the account
-- again, without a password, and links it to that user. When the operator then corrects the roles and the password, the OAuth user
-- has both. The trigger rejects the insert. It runs only for statements that write password_hash, which linking by email does not.
CREATE OR REPLACE FUNCTION :"schema".shardinguser_oauth_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
    RAISE EXCEPTION 'an account is not overwritten by a login with OAuth' USING ERRCODE = 'integrity_constraint_violation';
END
$fn$;
ALTER FUNCTION :"schema".shardinguser_oauth_guard() OWNER TO CURRENT_USER;
DROP TRIGGER IF EXISTS shardinguser_oauth_guard ON :"schema".users;
CREATE TRIGGER shardinguser_oauth_guard BEFORE UPDATE OF password_hash ON :"schema".users FOR EACH ROW
    WHEN (NEW.password_hash = '' AND ((OLD.oauth_provider, OLD.oauth_id) IS DISTINCT FROM (NEW.oauth_provider, NEW.oauth_id)
        OR NEW.active AND OLD.active IS NOT TRUE))
    EXECUTE FUNCTION :"schema".shardinguser_oauth_guard();

-- The sharding manager creates an index and columns when it starts, which only the owner of the table may do.
ALTER TABLE :"schema".users OWNER TO :"manager";
GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON TABLE :"schema".users TO :"operator";

\if :is_lent
REVOKE :"manager" FROM CURRENT_USER;
\endif

COMMIT;

\if :is_taken
\echo 'The table users belonged to the role' :former_owner 'which has no right on it any more. Restart the programs that connect'
\echo 'by it with the DSN of the role' :manager 'now: a sharding manager that starts by the old one accepts the default passwords.'
\endif
