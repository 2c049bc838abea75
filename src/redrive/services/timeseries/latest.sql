-- name: lock
-- One writer of a tenant's latest values at a time.
select pg_advisory_xact_lock(7204, hashint8(%(tenant_id)s));

-- name: state
-- The state of series given as parallel arrays, as binary columns: no row comes up as an object.
select string_agg(int8send(place), ''::bytea) as place, string_agg(int2send(kind), ''::bytea) as kind,
       string_agg(int8send(time_ms), ''::bytea) as time_ms, string_agg(float8send(number), ''::bytea) as number,
       string_agg(int8send(quality), ''::bytea) as quality, string_agg(int8send(seq), ''::bytea) as seq,
       string_agg(int8send(stored_ms), ''::bytea) as stored_ms,
       string_agg(int8send(changed_ms), ''::bytea) as changed_ms,
       string_agg(int8send(latest_deleted_seq), ''::bytea) as latest_deleted_seq,
       string_agg(int8send(changed_deleted_seq), ''::bytea) as changed_deleted_seq,
       string_agg(int8send(place), ''::bytea) filter (where text is not null) as text_place,
       array_agg(text) filter (where text is not null) as text
from (
    select s.place, coalesce(l.kind, -1)::smallint as kind, coalesce(l.time_ms, 0) as time_ms,
           coalesce(l.number, 'NaN') as number, coalesce(l.quality, -1)::bigint as quality,
           coalesce(l.seq, 0) as seq, coalesce(l.stored_ms, 0) as stored_ms,
           coalesce(l.changed_ms, 0) as changed_ms, l.latest_deleted_seq, l.changed_deleted_seq, l.text
    from unnest(%(assets)s::text[], %(points)s::text[]) with ordinality as s (asset, point, place)
    join timeseries_latest l on l.tenant_id = %(tenant_id)s and l.asset = s.asset and l.point = s.point
) as found;

-- name: change
-- Series that have a row. Twice as fast as an insert with "on conflict", which locks each row first.
update timeseries_latest l
set kind = t.kind, time_ms = t.time_ms, number = t.number, text = t.text, quality = t.quality, seq = t.seq,
    stored_ms = t.stored_ms, changed_ms = t.changed_ms
from unnest(%(assets)s::text[], %(points)s::text[], %(kind)s::smallint[], %(time_ms)s::bigint[],
            %(number)s::float8[], %(text)s::text[], %(quality)s::int[], %(seq)s::bigint[], %(stored_ms)s::bigint[],
            %(changed_ms)s::bigint[])
     as t (asset, point, kind, time_ms, number, text, quality, seq, stored_ms, changed_ms)
where l.tenant_id = %(tenant_id)s and l.asset = t.asset and l.point = t.point;

-- name: add
-- Series that have no row yet.
insert into timeseries_latest (tenant_id, asset, point, kind, time_ms, number, text, quality, seq, stored_ms, changed_ms)
select %(tenant_id)s, t.*
from unnest(%(assets)s::text[], %(points)s::text[], %(kind)s::smallint[], %(time_ms)s::bigint[],
            %(number)s::float8[], %(text)s::text[], %(quality)s::int[], %(seq)s::bigint[], %(stored_ms)s::bigint[],
            %(changed_ms)s::bigint[]) as t;

-- name: delete_latest
-- Values up to a sequence are deleted, also those that are not here yet.
insert into timeseries_latest (tenant_id, asset, point, latest_deleted_seq)
select %(tenant_id)s, a.asset, p.point, %(seq)s
from unnest(%(assets)s::text[]) as a (asset) cross join unnest(%(points)s::text[]) as p (point)
order by a.asset, p.point
on conflict (tenant_id, asset, point) do update set latest_deleted_seq = excluded.latest_deleted_seq;

-- name: delete_changed
insert into timeseries_latest (tenant_id, asset, point, changed_deleted_seq)
select %(tenant_id)s, a.asset, p.point, %(seq)s
from unnest(%(assets)s::text[]) as a (asset) cross join unnest(%(points)s::text[]) as p (point)
order by a.asset, p.point
on conflict (tenant_id, asset, point) do update set changed_deleted_seq = excluded.changed_deleted_seq;

-- name: wipe_deleted
-- A value that neither store shows any more is not kept.
update timeseries_latest
set kind = null, time_ms = null, number = null, text = null, quality = null, seq = null, stored_ms = null,
    changed_ms = null
where tenant_id = %(tenant_id)s and asset = any (%(assets)s::text[]) and point = any (%(points)s::text[])
  and seq <= least(latest_deleted_seq, changed_deleted_seq);

-- name: drop_empty
-- Marks of deletions that no sample on its way can meet any more.
delete from timeseries_latest
where tenant_id = %(tenant_id)s and kind is null
  and greatest(latest_deleted_seq, changed_deleted_seq) <= %(through_seq)s;
