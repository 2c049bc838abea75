-- name: insert_deletion
insert into timeseries_deletions (job_id, tenant_id, model_id, point_id, asset_ids, start_ms, end_ms, actor)
values (%(job_id)s, %(tenant_id)s, %(model_id)s, %(point_id)s, %(asset_ids)s, %(start_ms)s, %(end_ms)s, %(actor)s);

-- name: take_over
-- A rerun asks for what its origin asked for, with a cut-off of its own.
insert into timeseries_deletions (job_id, tenant_id, model_id, point_id, asset_ids, start_ms, end_ms, actor)
select j.id, d.tenant_id, d.model_id, d.point_id, d.asset_ids, d.start_ms, d.end_ms, j.actor
from jobs j join timeseries_deletions d on d.job_id = j.origin_id
where j.id = %(job_id)s
on conflict do nothing;

-- name: set_cutoff
-- The first launch decides; later ones find it set.
update timeseries_deletions set cutoff_seq = coalesce(cutoff_seq, %(cutoff_seq)s)
where job_id = %(job_id)s
returning *;

-- name: list_deletions
-- Newest first. An id means a model, a point or a job; jobs outside the caller's assets are not shown.
select d.*, j.state, j.ended_at, coalesce(a.started_at, j.started_at) as launched_at
from timeseries_deletions d
join jobs j on j.id = d.job_id
left join attempts a on a.job_id = d.job_id and a.number = 1
where d.tenant_id = %(tenant_id)s
  and (%(query)s::text is null or d.model_id = %(query)s or d.point_id = %(query)s
       or d.job_id = %(query_job)s::bigint)
  and (%(every)s or not exists (
        select from unnest(d.asset_ids) as asset (id)
        where not name_in_scope(asset.id, %(layers)s::int[], %(allowed)s::text[], %(allowed_in)s::int[],
                                %(denied)s::text[])))
order by d.job_id desc
limit %(limit)s offset %(offset)s;

-- name: count_deletions
select count(*) as total
from timeseries_deletions d
where d.tenant_id = %(tenant_id)s
  and (%(query)s::text is null or d.model_id = %(query)s or d.point_id = %(query)s
       or d.job_id = %(query_job)s::bigint)
  and (%(every)s or not exists (
        select from unnest(d.asset_ids) as asset (id)
        where not name_in_scope(asset.id, %(layers)s::int[], %(allowed)s::text[], %(allowed_in)s::int[],
                                %(denied)s::text[])));
