-- SPDX-License-Identifier: Apache-2.0

-- Two database roles for the operator in place of one: the controller's writes what the resources say, the log-in side's
-- what happens at log-in time, and neither can write the other's columns. docs/database.md tells how they are used.
--
--   psql "$ADMIN_DSN" -f config/database/roles.sql
--   psql "$ADMIN_DSN" -v schema=accounts -v controller=su_controller -v login=su_login -f config/database/roles.sql
--
-- Run it as a superuser, or as the owner of schema and tables where that one may create roles. It may run again at any time, and
-- has to after an upgrade that brings a new table: it then takes away what the two roles have here, and grants what they
-- need. There is no password in it: set one for each role by \password, and again to rotate it.

\set ON_ERROR_STOP on

-- schema        where the operator's tables are, or will be
-- users_schema  where the table users is, if not there
-- controller    the role of --user-database-dsn-file
-- login         the role of --login-database-dsn-file
-- owner         who gets what either of the two owns and must not: an owner may do anything with a table
-- migrate       on: the controller's role makes tables and upgrades them. off: an administrator does, by starting the
--               operator with a DSN of his own, once for each version that brings a migration
-- notifications on, or off to drop the triggers: give it the value of --notifications
\if :{?schema} \else \set schema public \endif
\if :{?users_schema} \else \set users_schema :schema \endif
\if :{?controller} \else \set controller shardinguser_controller \endif
\if :{?login} \else \set login shardinguser_login \endif
\if :{?owner} \else \set owner :USER \endif
\if :{?migrate} \else \set migrate off \endif
\if :{?notifications} \else \set notifications on \endif

BEGIN;
SET LOCAL search_path = :"schema", :"users_schema";

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY[:'controller', :'login']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name)
FROM unnest(ARRAY[:'controller', :'login']) AS name
WHERE NOT has_database_privilege(name, current_database(), 'CONNECT')
\gexec

REVOKE CREATE ON SCHEMA :"schema", :"users_schema" FROM :"controller", :"login";
GRANT USAGE ON SCHEMA :"schema", :"users_schema" TO :"controller", :"login";
\if :migrate
GRANT CREATE ON SCHEMA :"schema" TO :"controller";
\endif

-- What the controller made and must not own. The function of the trigger runs in everybody's transactions.
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'owner')
FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
WHERE c.oid IN (to_regclass('users'), to_regclass('login_attempts'), to_regclass('shardinguser_merges'),
                to_regclass('shardinguser_probes'), to_regclass('shardinguser_ownership'), to_regclass('shardinguser_migrations'))
  AND r.rolname IN (:'controller', :'login')
\gexec
SELECT format('ALTER FUNCTION %s OWNER TO %I', p.oid::regprocedure, :'owner')
FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
WHERE p.pronamespace = to_regnamespace(quote_ident(:'schema')) AND p.proname ~ '^shardinguser_notify_v[0-9]+$'
  AND r.rolname IN (:'controller', :'login')
\gexec

SELECT to_regclass('users') IS NOT NULL AS has_users,
       to_regclass('shardinguser_ownership') IS NOT NULL AND to_regclass('login_attempts') IS NOT NULL
       AND to_regclass('shardinguser_merges') IS NOT NULL AND to_regclass('shardinguser_probes') IS NOT NULL
       AND to_regclass('shardinguser_migrations') IS NOT NULL AS has_others
\gset

\if :has_users

REVOKE ALL ON TABLE users FROM :"controller", :"login";

-- Not when a row was made, which nobody here asks, and not the columns that other programs added.
GRANT SELECT (username, password_hash, roles, active, last_login_at, failed_login_attempts, locked_until)
    ON TABLE users TO :"controller", :"login";

-- The counter and the lock are to unlock by request, and for a clean start with a new password.
GRANT INSERT (username, password_hash, roles, active, created_at, updated_at),
      UPDATE (password_hash, roles, active, updated_at, failed_login_attempts, locked_until),
      DELETE
    ON TABLE users TO :"controller";

GRANT UPDATE (failed_login_attempts, locked_until, last_login_at) ON TABLE users TO :"login";

\if :notifications
-- The triggers that tell of changes, as the operator makes them where it may. Neither role gets the right to make any: one
-- on this table runs in the transactions of all who write it.
DO $do$
BEGIN
    IF to_regprocedure('shardinguser_notify_v1()') IS NULL THEN
        CREATE FUNCTION shardinguser_notify_v1() RETURNS trigger LANGUAGE plpgsql AS $fn$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM pg_catalog.pg_notify('shardinguser_rows', '');
                RETURN NULL;
            END IF;
            IF TG_OP = 'UPDATE' AND (OLD.username, OLD.password_hash, OLD.roles::text, OLD.active, OLD.locked_until)
                IS NOT DISTINCT FROM (NEW.username, NEW.password_hash, NEW.roles::text, NEW.active, NEW.locked_until) THEN
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                PERFORM pg_catalog.pg_notify('shardinguser_rows', OLD.username);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                PERFORM pg_catalog.pg_notify('shardinguser_rows', NEW.username);
            END IF;
            RETURN NULL;
        EXCEPTION WHEN OTHERS THEN
            RETURN NULL;  -- the sweep finds what was not told
        END
        $fn$;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'shardinguser_notify_v1_rows') THEN
        CREATE TRIGGER shardinguser_notify_v1_rows AFTER INSERT OR UPDATE OR DELETE ON users
            FOR EACH ROW EXECUTE FUNCTION shardinguser_notify_v1();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'shardinguser_notify_v1_truncate') THEN
        CREATE TRIGGER shardinguser_notify_v1_truncate AFTER TRUNCATE ON users
            FOR EACH STATEMENT EXECUTE FUNCTION shardinguser_notify_v1();
    END IF;
END
$do$;
\else
DROP TRIGGER IF EXISTS shardinguser_notify_v1_rows ON users;
DROP TRIGGER IF EXISTS shardinguser_notify_v1_truncate ON users;
DROP FUNCTION IF EXISTS shardinguser_notify_v1();
\endif

\endif

\if :has_others

\if :migrate
-- Only an owner may add a column.
ALTER TABLE shardinguser_ownership OWNER TO :"controller";
ALTER TABLE shardinguser_migrations OWNER TO :"controller";
\endif

REVOKE ALL ON TABLE shardinguser_ownership, login_attempts, shardinguser_merges, shardinguser_probes, shardinguser_migrations
    FROM :"controller", :"login";

GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE shardinguser_ownership TO :"controller";
GRANT SELECT ON TABLE shardinguser_ownership TO :"login";

-- Whether there ever was an account, which the default users depend on, is told by the sequence of the revisions.
SELECT pg_get_serial_sequence('shardinguser_ownership', 'revision') AS revisions
\gset
GRANT SELECT ON SEQUENCE :revisions TO :"controller";

-- Where an attempt came from is written, and read by neither.
GRANT SELECT (username, attempted_at, outcome, locked_until, attempt_key, attempts) ON TABLE login_attempts TO :"controller";
GRANT SELECT (id, username, attempted_at, outcome, locked_until, user_agent, attempt_key, attempts),
      INSERT (username, attempted_at, outcome, locked_until, source, user_agent, attempt_key),
      UPDATE (outcome, attempts),
      DELETE
    ON TABLE login_attempts TO :"login";

-- The UPDATE is what SELECT ... FOR UPDATE takes; nobody changes the column.
GRANT SELECT (id, merged_at), INSERT (id), UPDATE (merged_at), DELETE ON TABLE shardinguser_merges TO :"login";
GRANT SELECT (id, probed_at), INSERT (id), UPDATE (probed_at), DELETE ON TABLE shardinguser_probes TO :"controller", :"login";

GRANT SELECT ON TABLE shardinguser_migrations TO :"controller", :"login";
\if :migrate
GRANT INSERT, UPDATE, DELETE ON TABLE shardinguser_migrations TO :"controller";
\endif

\endif

COMMIT;

\if :has_others
\else
\echo 'Some of the operator''s tables are not there yet: run this again once they are.'
\endif

SELECT has_schema_privilege(:'login', :'schema', 'CREATE') AS everybody_creates
\gset
\if :everybody_creates
\echo 'Everybody may create tables in the schema, as was the rule before Postgres 15: REVOKE CREATE ON SCHEMA' :"schema" 'FROM PUBLIC'
\endif
