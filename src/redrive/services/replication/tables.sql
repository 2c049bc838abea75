-- name: tables
-- Ordinary tables with their columns (generated ones are computed in the target anew), and the key that cuts them
-- into chunks: the primary one, or a unique index of columns that are never null. `plain`: the binary form of every
-- column means the same in another database, which arrays and rows of types made by users do not, nor names that are
-- numbers (regclass and its like).
select n.nspname as schema, c.relname as name, 
       -- a table that was never analysed: by its size, with short rows
       case when c.reltuples < 0 then pg_relation_size(c.oid) / 50 else c.reltuples end::bigint as rows,
       a.columns, a.plain, k.key_columns, k.key_types
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select coalesce(array_agg(a.attname::text order by a.attnum) filter (where a.attgenerated = ''), '{}') as columns,
           bool_and(a.atttypid < 16384 and t.typsend <> 0 and t.typname !~ '^_?(reg|aclitem)' or t.typtype = 'e'
                    or t.typtype = 'd' and t.typbasetype < 16384) as plain
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
) a
left join lateral (
    select array_agg(ka.attname::text order by x.place) as key_columns,
           array_agg(format_type(ka.atttypid, null) order by x.place) as key_types
    from (select i.indkey, i.indnkeyatts from pg_index i
          where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
            and not exists (select from unnest(i.indkey::int2[]) with ordinality as u (attnum, place)
                            join pg_attribute q on q.attrelid = c.oid and q.attnum = u.attnum
                            where u.place <= i.indnkeyatts and not q.attnotnull)
          order by i.indisprimary desc, i.indnkeyatts, i.indexrelid limit 1) i
    cross join unnest(i.indkey::int2[]) with ordinality as x (attnum, place)
    join pg_attribute ka on ka.attrelid = c.oid and ka.attnum = x.attnum
    where x.place <= i.indnkeyatts
) k on true
where c.relkind = 'r' and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'redrive') and n.nspname !~ '^pg_(toast|temp)'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  and (%(chosen)s::text[] is null or n.nspname || chr(1) || c.relname = any(%(chosen)s::text[])
       or n.nspname || chr(1) = any(%(chosen)s::text[]))
order by pg_relation_size(c.oid) desc, n.nspname, c.relname

-- name: sequences
select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and n.nspname not in ('pg_catalog', 'information_schema', 'redrive')
  and n.nspname !~ '^pg_(toast|temp)'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1, 2

-- name: filled_views
-- Materialized views that have their rows, those that others are made of first.
select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'm' and c.relispopulated and n.nspname not in ('pg_catalog', 'information_schema')
order by c.oid
