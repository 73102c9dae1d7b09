-- SPDX-License-Identifier: Apache-2.0

-- Creates two database roles for the operator instead of one. The controller's role writes the columns of the resources, and the login
-- role those of logins. Neither can write the other's columns. docs/database.md describes how to use them.
--
--   psql "$ADMIN_DSN" -f config/database/roles.sql
--   psql "$ADMIN_DSN" -v schema=accounts -v controller=su_controller -v login=su_login -f config/database/roles.sql
--
-- Run it as a superuser, or as the owner of the schema and the tables with the right to create roles. You can run it repeatedly, and
-- have to after an upgrade with a new table: it revokes the rights of the two roles, and grants those that they need. It sets no
-- passwords: set one for each role with \password, also to rotate it.

\set ON_ERROR_STOP on

-- schema        the schema of the operator's tables
-- users_schema  the schema of the table users, if it is another one
-- controller    the role of --user-database-dsn-file
-- login         the role of --login-database-dsn-file
-- owner         the new owner of tables that the two roles own: an owner has all rights on a table
-- migrate       on: the controller's role creates and migrates tables. off: an administrator does, by starting the operator
--               with an administrator's DSN, once for each version with a migration
-- trusted       further roles, separated by commas, that may create objects in the schemas
-- notifications the value of --notifications; off drops the triggers
\if :{?schema} \else \set schema public \endif
\if :{?users_schema} \else \set users_schema :schema \endif
\if :{?controller} \else \set controller shardinguser_controller \endif
\if :{?login} \else \set login shardinguser_login \endif
\if :{?owner} \else \set owner :USER \endif
\if :{?migrate} \else \set migrate off \endif
\if :{?trusted} \else \set trusted '' \endif
\if :{?notifications} \else \set notifications on \endif

BEGIN;

-- Only this statement looks up tables in the schemas, with all other names qualified. The others look up functions and operators only
-- in pg_catalog: those of other roles in the schemas must not run with an administrator's rights.
SET LOCAL search_path = :"schema", :"users_schema", pg_temp;
SELECT pg_catalog.to_regclass('users') IS NOT NULL AS has_users,
       COALESCE(pg_catalog.to_regclass('users')::pg_catalog.oid, 0::pg_catalog.oid) AS users_oid,
       pg_catalog.to_regclass('shardinguser_ownership') IS NOT NULL AND pg_catalog.to_regclass('login_attempts') IS NOT NULL
       AND pg_catalog.to_regclass('account_changes') IS NOT NULL
       AND pg_catalog.to_regclass('shardinguser_merges') IS NOT NULL AND pg_catalog.to_regclass('shardinguser_probes') IS NOT NULL
       AND pg_catalog.to_regclass('shardinguser_familiar') IS NOT NULL
       AND pg_catalog.to_regclass('shardinguser_migrations') IS NOT NULL AS has_others,
       ARRAY[pg_catalog.to_regclass('users'), pg_catalog.to_regclass('login_attempts'), pg_catalog.to_regclass('account_changes'),
             pg_catalog.to_regclass('shardinguser_merges'), pg_catalog.to_regclass('shardinguser_probes'), pg_catalog.to_regclass('shardinguser_ownership'),
             pg_catalog.to_regclass('shardinguser_familiar'), pg_catalog.to_regclass('shardinguser_migrations')]::pg_catalog.oid[] AS all_oids
\gset
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY[:'controller', :'login']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name)
FROM unnest(ARRAY[:'controller', :'login']) AS name
WHERE NOT has_database_privilege(name, current_database(), 'CONNECT')
\gexec

-- The owner of users gets CREATE before it is revoked from PUBLIC: a sharding manager that may not create objects falls back to memory,
-- and accepts its default passwords.
SELECT format('GRANT CREATE ON SCHEMA %I TO %I', :'users_schema', r.rolname)
FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
WHERE c.oid = :'users_oid'::oid AND NOT r.rolsuper AND r.rolname NOT IN (:'controller', :'login')
  AND has_schema_privilege(r.oid, :'users_schema', 'CREATE')
\gexec

-- An operator, a function or a table of another role could be used by mistake. Grant CREATE by name to other roles that need it.
REVOKE CREATE ON SCHEMA :"schema", :"users_schema" FROM PUBLIC, :"controller", :"login";
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, %I, %I', current_database(), :'controller', :'login')
\gexec
GRANT USAGE ON SCHEMA :"schema", :"users_schema" TO :"controller", :"login";
\if :migrate
GRANT CREATE ON SCHEMA :"schema" TO :"controller";
\endif

-- Objects that the two roles created and must not own. The trigger's function runs in the transactions of all roles, so no other role
-- may own and change it.
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'owner')
FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
WHERE c.oid = ANY (:'all_oids'::oid[]) AND r.rolname IN (:'controller', :'login')
\gexec
SELECT format('ALTER FUNCTION %s OWNER TO %I', p.oid::regprocedure, :'owner')
FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
WHERE p.pronamespace = to_regnamespace(quote_ident(:'schema')) AND p.proname ~ '^shardinguser_notify_v[0-9]+$'
  AND NOT r.rolsuper AND r.rolname <> :'owner' AND p.proowner <> ALL (SELECT relowner FROM pg_class WHERE oid = :'users_oid'::oid)
\gexec

SET LOCAL search_path = :"schema", :"users_schema", pg_temp;

\if :has_users

REVOKE ALL ON TABLE users FROM :"controller", :"login";

-- Without created_at and updated_at, which the operator does not read, and without the columns of other programs.
GRANT SELECT (username, password_hash, roles, active, last_login_at, failed_login_attempts, locked_until)
    ON TABLE users TO :"controller", :"login";

-- The counter and the lock: a request to unlock and a new password reset them.
GRANT INSERT (username, password_hash, roles, active, created_at, updated_at),
      UPDATE (password_hash, roles, active, updated_at, failed_login_attempts, locked_until),
      DELETE
    ON TABLE users TO :"controller";

GRANT UPDATE (failed_login_attempts, locked_until, last_login_at) ON TABLE users TO :"login";

\if :notifications
-- The triggers that notify of changed rows, as the operator creates them if it has the right. Neither role gets that right: a trigger
-- on this table runs in the transactions of every program that writes the table.
-- Generated from internal/store/postgres/schema/trigger.sql: begin
DO $do$
DECLARE
    body CONSTANT pg_catalog.text := $fn$
        BEGIN
            IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE'::pg_catalog.text THEN
                PERFORM pg_catalog.pg_notify('shardinguser_rows', '');
                RETURN NULL;
            END IF;
            IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'::pg_catalog.text
                AND ROW(OLD.username, OLD.password_hash, OLD.roles, OLD.active, OLD.locked_until)::pg_catalog.text
                OPERATOR(pg_catalog.=) ROW(NEW.username, NEW.password_hash, NEW.roles, NEW.active, NEW.locked_until)::pg_catalog.text THEN
                RETURN NULL;
            END IF;
            IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT'::pg_catalog.text THEN
                PERFORM pg_catalog.pg_notify('shardinguser_rows', OLD.username::pg_catalog.text);
            END IF;
            IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE'::pg_catalog.text THEN
                PERFORM pg_catalog.pg_notify('shardinguser_rows', NEW.username::pg_catalog.text);
            END IF;
            RETURN NULL;
        EXCEPTION WHEN OTHERS THEN
            RETURN NULL;  -- the sweep finds what was not told
        END
        $fn$;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid = pg_catalog.to_regprocedure('shardinguser_notify_v1()')::oid
        AND (p.prosrc = body OR NOT pg_catalog.pg_has_role(p.proowner, 'USAGE'))) THEN
        EXECUTE pg_catalog.format('CREATE OR REPLACE FUNCTION shardinguser_notify_v1() RETURNS trigger LANGUAGE plpgsql AS %L', body);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'users'::regclass::oid AND tgname = 'shardinguser_notify_v1_rows') THEN
        CREATE TRIGGER shardinguser_notify_v1_rows AFTER INSERT OR UPDATE OR DELETE ON users
            FOR EACH ROW EXECUTE FUNCTION shardinguser_notify_v1();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'users'::regclass::oid AND tgname = 'shardinguser_notify_v1_truncate') THEN
        CREATE TRIGGER shardinguser_notify_v1_truncate AFTER TRUNCATE ON users
            FOR EACH STATEMENT EXECUTE FUNCTION shardinguser_notify_v1();
    END IF;
END
$do$;
-- Generated: end
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

REVOKE ALL ON TABLE shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_probes, shardinguser_familiar,
        shardinguser_migrations
    FROM :"controller", :"login";

GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE shardinguser_ownership TO :"controller";
GRANT SELECT ON TABLE shardinguser_ownership TO :"login";

-- The sequence of the revisions shows whether an account has ever existed. The default users depend on that.
SELECT pg_catalog.pg_get_serial_sequence('shardinguser_ownership', 'revision') AS revisions
\gset
GRANT SELECT ON SEQUENCE :revisions TO :"controller";

-- The login role writes the source of an attempt, and does not read it. The controller's role reads it for /audit/attempts.
GRANT SELECT (id, username, attempted_at, outcome, locked_until, source, user_agent, attempt_key, attempts)
    ON TABLE login_attempts TO :"controller";
GRANT SELECT (id, username, attempted_at, outcome, locked_until, user_agent, attempt_key, attempts, familiar),
      INSERT (username, attempted_at, outcome, locked_until, source, user_agent, attempt_key, familiar),
      UPDATE (outcome, attempts),
      DELETE
    ON TABLE login_attempts TO :"login";

-- The controller's role records changes and deletes old records. Nobody may change one.
GRANT SELECT,
      INSERT (changed_at, username, action, old_roles, new_roles, old_active, new_active, password_changed,
              cluster, system, namespace, name, uid, generation, manager, reason),
      DELETE
    ON TABLE account_changes TO :"controller";

-- SELECT ... FOR UPDATE requires the right UPDATE on a column, which is never changed.
GRANT SELECT (id, merged_at), INSERT (id), UPDATE (merged_at), DELETE ON TABLE shardinguser_merges TO :"login";
GRANT SELECT (id, probed_at), INSERT (id), UPDATE (probed_at), DELETE ON TABLE shardinguser_probes TO :"controller", :"login";

-- The controller's role clears the counter and the lock, and does not read addresses.
GRANT SELECT (username, failed_login_attempts, locked_until), UPDATE (failed_login_attempts, locked_until), DELETE
    ON TABLE shardinguser_familiar TO :"controller";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE shardinguser_familiar TO :"login";

GRANT SELECT ON TABLE shardinguser_migrations TO :"controller", :"login";
\if :migrate
GRANT INSERT, UPDATE, DELETE ON TABLE shardinguser_migrations TO :"controller";
\endif

\endif

-- The script fails and rolls back if another role may still create objects.
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT set_config('shardinguser.users', :'users_oid', true),
       set_config('shardinguser.schemas', concat_ws(',', quote_ident(:'schema'), quote_ident(:'users_schema')), true),
       set_config('shardinguser.trusted', concat_ws(',', quote_ident(:'owner'), quote_ident(:'controller'), nullif(:'trusted', '')), true)
\g /dev/null
DO $do$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT DISTINCT n.nspname AS schema, COALESCE(quote_ident(r.rolname), 'PUBLIC') AS role
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(COALESCE(n.nspacl, acldefault('n', n.nspowner))) AS acl
        LEFT JOIN pg_roles r ON r.oid = acl.grantee
        WHERE n.oid = ANY (string_to_array(current_setting('shardinguser.schemas'), ',')::regnamespace[]::oid[])
          AND acl.privilege_type = 'CREATE' AND NOT COALESCE(r.rolsuper, false)
          AND acl.grantee <> n.nspowner
          AND acl.grantee <> (SELECT datdba FROM pg_database WHERE datname = current_database())
          AND NOT COALESCE(pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE oid = current_setting('shardinguser.users')::oid), 'USAGE'), false)
          AND COALESCE(quote_ident(r.rolname), '') <> ALL (
              SELECT quote_ident(trim(BOTH '" ' FROM name)) FROM unnest(string_to_array(current_setting('shardinguser.trusted'), ',')) AS name)
    LOOP
        RAISE EXCEPTION '% may create objects in the schema %, which could then run with the rights of the operator',
            found.role, found.schema
            USING HINT = format('Run REVOKE CREATE ON SCHEMA %I FROM %s as the owner of the schema; or name the role by -v trusted=%s.',
                found.schema, found.role, found.role);
    END LOOP;
    IF EXISTS (
        SELECT FROM pg_database d CROSS JOIN LATERAL aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) AS acl
        WHERE d.datname = current_database() AND acl.privilege_type = 'TEMPORARY' AND acl.grantee = 0
    ) THEN
        RAISE EXCEPTION 'PUBLIC may create temporary tables in the database %', current_database()
            USING HINT = format('Run REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC as the owner of the database.', current_database());
    END IF;
END
$do$;

COMMIT;

\if :has_others
\else
\echo 'Some of the operator''s tables are not there yet: run this again once they are.'
\endif
