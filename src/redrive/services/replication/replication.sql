-- name: task
select t.*, j.state, j.phase, j.failure, j.run_at, j.started_at, j.ended_at, j.wanted,
       j.run_at is null or j.run_at <= now() as is_due, r.state as release_state
from replication_tasks t left join jobs j on j.id = t.job_id left join jobs r on r.id = t.release_job_id
where t.tenant_id = %(tenant_id)s and t.id = %(id)s

-- name: by_ids
select t.*, j.state, j.phase, j.failure, j.run_at, j.started_at, j.ended_at, j.wanted,
       j.run_at is null or j.run_at <= now() as is_due, r.state as release_state
from replication_tasks t left join jobs j on j.id = t.job_id left join jobs r on r.id = t.release_job_id
where t.tenant_id = %(tenant_id)s and t.vendor_id = any(%(vendor_ids)s::text[])

-- name: listing
select t.*, j.state, j.phase, j.failure, j.run_at, j.started_at, j.ended_at, j.wanted,
       j.run_at is null or j.run_at <= now() as is_due, r.state as release_state
from replication_tasks t left join jobs j on j.id = t.job_id left join jobs r on r.id = t.release_job_id
where t.tenant_id = %(tenant_id)s and t.deleted_at is null
  and (%(use)s::text is null or t.settings ->> 'use' = %(use)s)
  and (%(engine)s::text is null or t.settings ->> 'engine' = %(engine)s)
  and (%(names)s::text[] is null or t.vendor_id = any(%(names)s::text[])
       or cardinality(%(names)s::text[]) = 1 and position(lower((%(names)s::text[])[1]) in lower(t.settings ->> 'name')) > 0)
order by t.id desc
limit %(limit)s offset %(offset)s

-- name: lock_tasks
-- In one order, so that two batches never wait for each other.
select id from replication_tasks
where tenant_id = %(tenant_id)s and vendor_id = any(%(vendor_ids)s::text[]) order by id for no key update

-- name: create
insert into replication_tasks (tenant_id, vendor_id, settings, source, target)
values (%(tenant_id)s, %(vendor_id)s, %(settings)s::jsonb, %(source)s::jsonb, %(target)s::jsonb)
on conflict (tenant_id, lower(settings ->> 'name')) where deleted_at is null do nothing
returning vendor_id

-- name: set_settings
-- The name is compared first: a unique violation would end the caller's transaction.
-- A name or a description is nothing that a precheck looks at.
update replication_tasks t
set settings = %(settings)s::jsonb, changed_at = now(),
    revision = revision + (t.settings - '{name,description}'::text[]
                           is distinct from %(settings)s::jsonb - '{name,description}'::text[])::integer
where t.id = %(id)s and not exists (
    select from replication_tasks o
    where o.tenant_id = %(tenant_id)s and o.id <> t.id and o.deleted_at is null
      and lower(o.settings ->> 'name') = lower(%(settings)s::jsonb ->> 'name'))
returning t.id

-- name: set_source
update replication_tasks
set source = %(endpoint)s::jsonb, source_secret = %(secret)s, revision = revision + 1, changed_at = now(),
    source_tested_at = case when %(tested)s then now() end
where id = %(id)s

-- name: set_target
update replication_tasks
set target = %(endpoint)s::jsonb, target_secret = %(secret)s, revision = revision + 1, changed_at = now(),
    target_tested_at = case when %(tested)s then now() end
where id = %(id)s

-- name: set_source_secret
update replication_tasks set source_secret = %(secret)s, changed_at = now() where id = %(id)s

-- name: set_target_secret
update replication_tasks set target_secret = %(secret)s, changed_at = now() where id = %(id)s

-- name: set_precheck
update replication_tasks set precheck_job_id = %(job_id)s, precheck_revision = revision where id = %(id)s

-- name: set_job
update replication_tasks set job_id = %(job_id)s, changed_at = now() where id = %(id)s

-- name: release
update replication_tasks
set released_at = coalesce(released_at, now()), release_job_id = %(job_id)s, changed_at = now() where id = %(id)s

-- name: delete
update replication_tasks
set deleted_at = now(), changed_at = now(), source_secret = null, target_secret = null where id = %(id)s

-- name: forget_structure
delete from replication_structures where job_id = %(job_id)s

-- name: phases
select job_id, phase, count(*) as total, count(*) filter (where state in ('done', 'skipped')) as done, max(ended_at) as ended_at
from units where job_id = any(%(job_ids)s::bigint[]) and phase > 0 group by 1, 2

-- name: tables
select job_id, spec ->> 'schema' || '.' || (spec ->> 'table') as name,
       coalesce(sum((ledger ->> 'rows')::bigint), 0) as rows, coalesce(sum((ledger ->> 'bytes')::bigint), 0) as bytes,
       count(*) filter (where state in ('done', 'skipped')) as done,
       count(*) filter (where state not in ('done', 'skipped')) as open
from units where job_id = any(%(job_ids)s::bigint[]) and phase = 2 group by 1, 2 order by 2

-- name: erase
-- The tasks of a tenant that leaves: nobody can open their passwords any more.
update replication_tasks
set deleted_at = now(), changed_at = now(), source_secret = null, target_secret = null, source = null, target = null
where tenant_id = %(tenant_id)s and deleted_at is null

-- name: erase_structures
delete from replication_structures s using replication_tasks t where t.job_id = s.job_id and t.tenant_id = %(tenant_id)s
