-- name: insert_jobs
-- Jobs, their first attempt and event in one statement. Arrays run in parallel, one element a job.
with input as (
    select * from unnest(
        %(ids)s::bigint[], %(tenant_ids)s::bigint[], %(kinds)s::text[], %(subjects)s::text[],
        %(subject_caps)s::int[], %(specs)s::text[], %(priorities)s::int[], %(lanes)s::int[], %(phases)s::int[],
        %(totals)s::int[], %(opens)s::int[], %(origins)s::bigint[], %(actors)s::text[],
        %(run_ats)s::timestamptz[])
        as t (id, tenant_id, kind, subject, subject_cap, spec, priority, lanes, phase,
              total, open, origin_id, actor, run_at)
), stored as (
    insert into jobs (id, tenant_id, kind, subject, subject_cap, spec, priority, lanes, state, held, capped,
                      phase, total_units, open_units, origin_id, actor, run_at)
    select i.id, i.tenant_id, i.kind, i.subject, i.subject_cap, i.spec::jsonb, i.priority, i.lanes, 'queued',
           c.capped, c.capped, i.phase, i.total, i.open, i.origin_id, i.actor, coalesce(i.run_at, now())
    from input i
    cross join lateral (
        select i.subject_cap is not null
               or exists (select from tenant_caps t where t.tenant_id = i.tenant_id)) as c (capped)
    returning id, capped, run_at
), first_attempts as (
    insert into attempts (job_id, number, cause, actor, reason)
    select id, 1, %(cause)s, actor, %(reason)s from input
), logged as (
    insert into events (job_id, attempt, name, actor) select id, 1, 'submitted', actor from input
)
select id, capped, run_at from stored;

-- name: insert_units
-- Units; ready ones can be claimed from their job's run_at on.
insert into units (id, job_id, tenant_id, kind, phase, label, planned, spec, priority, ready_at)
select t.id, t.job_id, t.tenant_id, t.kind, t.phase, t.label, t.planned, t.spec::jsonb, t.priority,
       case when t.ready and not j.held then j.run_at end
from unnest(%(ids)s::bigint[], %(job_ids)s::bigint[], %(tenant_ids)s::bigint[], %(kinds)s::text[],
            %(phases)s::int[], %(labels)s::text[], %(planned)s::bool[], %(specs)s::text[],
            %(priorities)s::int[], %(ready)s::bool[])
     as t (id, job_id, tenant_id, kind, phase, label, planned, spec, priority, ready)
join jobs j on j.id = t.job_id;

-- name: wake
-- Workers that wait look for work at once.
select pg_notify('redrive_ready', '');

-- name: get_job
select * from jobs where id = %(id)s and tenant_id = %(tenant_id)s;

-- name: jobs_by_ids
select * from jobs where id = any(%(ids)s::bigint[]) and tenant_id = %(tenant_id)s;

-- name: list_jobs
-- Newest first, before a given id. One short index scan for each kind and state, merged: the cost does not
-- grow with the number of jobs. The bounds are those of the whole index:
-- with equalities the planner may take the primary key and read every job.
select found.*
from unnest(%(kinds)s::text[]) as k (kind)
cross join unnest(%(states)s::text[]) as s (state)
cross join lateral (
    select * from jobs j
    where (j.tenant_id, j.kind, j.state, j.id) < (%(tenant_id)s::bigint, k.kind, s.state, %(before)s::bigint)
      and (j.tenant_id, j.kind, j.state, j.id) > (%(tenant_id)s::bigint, k.kind, s.state, 0)
      and (%(subject)s::text is null or j.subject = %(subject)s)
      and (%(fingerprint)s::text is null or j.fingerprint = %(fingerprint)s)
    order by j.tenant_id desc, j.kind desc, j.state desc, j.id desc limit %(limit)s) as found
order by found.id desc limit %(limit)s;

-- name: list_jobs_of_subject
select * from jobs j
where j.tenant_id = %(tenant_id)s and j.subject = %(subject)s and j.kind = any(%(kinds)s::text[])
  and j.state = any(%(states)s::text[]) and j.id < %(before)s
order by j.id desc limit %(limit)s;

-- name: list_jobs_of_fingerprint
select * from jobs j
where j.tenant_id = %(tenant_id)s and j.fingerprint = %(fingerprint)s and j.kind = any(%(kinds)s::text[])
  and j.state = any(%(states)s::text[]) and j.id < %(before)s
  and (%(subject)s::text is null or j.subject = %(subject)s)
order by j.id desc limit %(limit)s;

-- name: kinds_in_use
-- The kinds a tenant has jobs of, by skipping through the index.
with recursive k as (
    (select kind from jobs where tenant_id = %(tenant_id)s order by kind limit 1)
    union all
    select (select j.kind from jobs j where j.tenant_id = %(tenant_id)s and j.kind > k.kind order by j.kind limit 1)
    from k where k.kind is not null)
select kind from k where kind is not null;

-- name: attempts_of
select * from attempts where job_id = %(job_id)s order by number;

-- name: units_of
select * from units
where job_id = %(job_id)s and (phase, id) > (%(after_phase)s, %(after)s)
  and (%(states)s::text[] is null or state = any(%(states)s::text[]))
order by phase, id limit %(limit)s;

-- name: events_of
select * from events where job_id = %(job_id)s and id > %(after)s order by id limit %(limit)s;

-- name: log_event
insert into events (job_id, attempt, name, actor, data)
select id, attempt, %(name)s, %(actor)s, %(data)s::jsonb from jobs where id = %(job_id)s;

-- name: poke
-- A continuous job's waiting unit is wanted now.
with moved as (
    update units set ready_at = now()
    where job_id = %(job_id)s and state = 'waiting' and ready_at > now() returning id)
select pg_notify('redrive_ready', '') from moved;

-- name: insert_vendor_id
insert into vendor_ids (surface, vendor_id, job_id, attempt)
values (%(surface)s, %(vendor_id)s, %(job_id)s, %(attempt)s);

-- name: job_by_vendor_id
select j.* from vendor_ids v join jobs j on j.id = v.job_id
where v.surface = %(surface)s and v.vendor_id = %(vendor_id)s and j.tenant_id = %(tenant_id)s;
