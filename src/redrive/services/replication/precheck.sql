-- name: encoding
select pg_encoding_to_char(encoding) from pg_database where datname = current_database()

-- name: unreadable
select format('%%I.%%I', x.schema, x.name) as name
from unnest(%(schemas)s::text[], %(names)s::text[]) as x (schema, name)
-- Rows that a policy hides are not read either; not every server asks in the same order, so privileges come first.
where case when has_schema_privilege(x.schema, 'usage')
           then not has_table_privilege(format('%%I.%%I', x.schema, x.name), 'select')
                or row_security_active(format('%%I.%%I', x.schema, x.name))
           else true end
order by 1

-- name: may_create
select has_database_privilege(current_database(), 'create')

-- name: present
select format('%%I.%%I', x.schema, x.name) as name
from unnest(%(schemas)s::text[], %(names)s::text[]) as x (schema, name)
where to_regclass(format('%%I.%%I', x.schema, x.name)) is not null
order by 1

-- name: extensions
select extname as name from pg_extension where extname <> 'plpgsql' order by 1

-- name: available_extensions
select name from pg_available_extensions

-- name: large_objects
select exists (select from pg_largeobject_metadata)
