-- SPDX-License-Identifier: Apache-2.0

-- What a stranger may create in the schema strangers, where everybody may create: an operator of each name for each pair of types
-- that the operator's statements could have, functions of the names of built-in ones, types of the names of built-in ones, a
-- collation and casts. All of them record that they ran, in a sequence, which no rollback resets, and fail. $1 is an array of the names of
-- functions.

CREATE SEQUENCE strangers.runs; GRANT ALL ON SEQUENCE strangers.runs TO PUBLIC;
CREATE FUNCTION strangers.run(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.nextval('strangers.runs');
    RAISE EXCEPTION 'a stranger''s % ran as %', what, CURRENT_USER;
END $$;
DO $do$
DECLARE
    types text[] := '{text,varchar,bpchar,name,"\"char\"",int2,int4,int8,numeric,float8,oid,regclass,regnamespace,bool,timestamptz,timestamp,interval,jsonb,json,text[],name[],oid[],int2[],anyelement,anynonarray,anyarray}';
    l text; r text; o text; body text; args text; f text;
BEGIN
    FOREACH l IN ARRAY types LOOP
        FOREACH r IN ARRAY types LOOP
            body := format('BEGIN PERFORM strangers.run(%L); RETURN NULL; END', 'operator on ' || l || ', ' || r);
            EXECUTE format('CREATE FUNCTION strangers.holds(%s, %s) RETURNS bool LANGUAGE plpgsql AS %L', l, r, body);
            EXECUTE format('CREATE FUNCTION strangers.makes(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', l, r, l, body);
            FOREACH o IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '~', '?', '@>', '+', '-', '*', '/', '^', '||'] LOOP
                EXECUTE format('CREATE OPERATOR strangers.%s (FUNCTION = strangers.%s, LEFTARG = %s, RIGHTARG = %s)', o,
                    CASE WHEN o IN ('+', '-', '*', '/', '^', '||') THEN 'makes' ELSE 'holds' END, l, r);
            END LOOP;
        END LOOP;
    END LOOP;
    FOREACH f IN ARRAY $1 LOOP
        FOREACH args IN ARRAY '{"",text,varchar,anyelement,int4,int8,name,oid,regclass,timestamptz,interval,"text, text","varchar, text","name, text","oid, text","regclass, text","text, varchar","text, text, bool","varchar, varchar, bool","text, varchar, bool","int4, int4","VARIADIC text[]","VARIADIC anyarray"}'::text[] LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION strangers.%I(%s) RETURNS text LANGUAGE plpgsql AS %L', f, args,
                    format('BEGIN PERFORM strangers.run(%L); RETURN NULL; END', 'function ' || f || '(' || args || ')'));
            EXCEPTION WHEN duplicate_function THEN NULL;
            END;
        END LOOP;
    END LOOP;
    FOREACH f IN ARRAY '{text,jsonb,int8,bool,timestamptz,float8,numeric,oid,regclass,interval,name}'::text[] LOOP
        EXECUTE format('CREATE TYPE strangers.%I AS ENUM (''a'')', f);
        EXECUTE format('CREATE FUNCTION strangers.cast_of(strangers.%1$I) RETURNS pg_catalog.%1$I LANGUAGE plpgsql AS %2$L', f,
            format('BEGIN PERFORM strangers.run(%L); RETURN NULL; END', 'cast to ' || f));
        EXECUTE format('CREATE CAST (strangers.%1$I AS pg_catalog.%1$I) WITH FUNCTION strangers.cast_of(strangers.%1$I) AS IMPLICIT', f);
    END LOOP;
    CREATE COLLATION strangers."C" (provider = icu, locale = 'und');
END $do$;
