-- SPDX-License-Identifier: Apache-2.0

-- The triggers on the table users that notify of changed rows. "make generate" copies them into config/database/roles.sql.
--
-- The function runs in the sessions of other programs, with their rights and by their search_path, so every name in it is
-- qualified. Its errors must not fail their transactions. It does not notify of the two columns that change with every login. It
-- finds out by itself which columns changed: the owner could no longer alter columns that are named in the WHEN of a trigger.

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
