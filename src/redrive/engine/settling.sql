-- name: settle
-- Outcomes of units, fenced by (attempt, claim). Order of locks: jobs in id order, then units.
-- Ends the jobs whose units are all closed; answers each job that moved, for what is left to do.
with input as (
    select * from unnest(
        %(unit_ids)s::bigint[], %(job_ids)s::bigint[], %(claims)s::int[], %(attempts)s::int[], %(states)s::text[],
        %(delays)s::float8[], %(tries)s::int[], %(ledgers)s::text[], %(failures)s::text[], %(cursors)s::text[],
        %(redone)s::bool[], %(ran)s::bool[], %(added)s::int[], %(added_here)s::int[])
        as t (unit_id, job_id, claim, attempt, state, delay, tries, ledger, failure, cursor, redone, ran, added, added_here)
), owners as materialized (
    select id, wanted from jobs where id in (select job_id from input) order by id for update
), settled as (
    update units u
    set state = i.state,
        ready_at = case when i.state = 'unknown' or i.state = 'waiting' and o.wanted is null
                        then clock_timestamp() + make_interval(secs => i.delay) end,
        tries = i.tries, lapses = case when i.state = 'unknown' or not i.ran then u.lapses else 0 end, lease_until = null, worker_id = null,
        ledger = coalesce(i.ledger::jsonb, u.ledger), failure = i.failure::jsonb,
        cursor = coalesce(i.cursor::jsonb, u.cursor),
        ended_at = case when i.state in ('done', 'failed', 'skipped') then clock_timestamp() end
    from input i join owners o on o.id = i.job_id
    where u.id = i.unit_id and u.claim = i.claim and u.attempt = i.attempt and u.state = 'running'
    returning u.id, u.claim, u.job_id, u.state, i.redone, i.added, i.added_here
), tally as (
    select job_id, array_agg(id) as unit_ids, array_agg(claim) as claims, count(*) filter (where state <> 'unknown') as settled,
           count(*) filter (where state = 'done') as done, count(*) filter (where state = 'failed') as failed,
           count(*) filter (where state = 'skipped') as skipped, count(*) filter (where redone) as redone,
           sum(added) as added, sum(added_here) as added_here
    from settled group by job_id
), moved as (
    update jobs j
    set live_units = j.live_units - t.settled,
        total_units = j.total_units + t.added,
        open_units = j.open_units - t.done - t.failed - t.skipped + t.added_here,
        done_units = j.done_units + t.done, failed_units = j.failed_units + t.failed,
        skipped_units = j.skipped_units + t.skipped,
        attempt_done = j.attempt_done + t.done, attempt_redone = j.attempt_redone + t.redone,
        state = case when j.done_units + j.skipped_units + t.done + t.skipped = j.total_units + t.added
                     then 'succeeded' else j.state end,
        wanted = case when j.done_units + j.skipped_units + t.done + t.skipped = j.total_units + t.added
                      then null else j.wanted end,
        ended_at = case when j.done_units + j.skipped_units + t.done + t.skipped = j.total_units + t.added
                        then clock_timestamp() end
    from tally t where j.id = t.job_id
    returning j.*, t.unit_ids, t.claims, t.done + t.failed + t.skipped as closed, t.added as grown
), ended as (
    update attempts a
    set started_at = m.started_at, ended_at = m.ended_at, outcome = 'succeeded',
        units_done = m.attempt_done, units_redone = m.attempt_redone
    from moved m where m.state = 'succeeded' and a.job_id = m.id and a.number = m.attempt
), logged as (
    insert into events (job_id, attempt, name) select id, attempt, 'succeeded' from moved where state = 'succeeded'
)
select id, tenant_id, subject, state, wanted, capped, attempt, phase, lanes, open_units, live_units, failed_units,
       closed, grown, unit_ids, claims
from moved;

-- name: insert_added_units
-- Units that a plan or a split gave; parked, the release below lets the first ones out.
insert into units (id, job_id, tenant_id, kind, phase, label, planned, spec, priority)
select t.id, t.job_id, j.tenant_id, j.kind, t.phase, t.label, true, t.spec::jsonb, j.priority
from unnest(%(ids)s::bigint[], %(job_ids)s::bigint[], %(phases)s::int[], %(labels)s::text[], %(specs)s::text[])
     as t (id, job_id, phase, label, spec)
join jobs j on j.id = t.job_id;

-- name: log_retried_units
insert into events (job_id, attempt, name, data)
select * from unnest(%(job_ids)s::bigint[], %(attempts)s::int[], %(names)s::text[], %(data)s::text[]::jsonb[]);

-- name: stop_wanted
-- Jobs with a wish and no live unit: paused or cancelled now.
with stopped as (
    update jobs
    set state = case wanted when 'pause' then 'paused' else 'cancelled' end, wanted = null, held = false,
        ended_at = case wanted when 'cancel' then clock_timestamp() end
    where id = any(%(job_ids)s::bigint[]) and wanted is not null and live_units = 0
      and state in ('queued', 'running')
    returning *
), free as (
    -- What is being claimed right now is parked by its claimant, who finds the job stopped.
    select u.id from units u join stopped s on s.id = u.job_id
    where u.state = 'waiting' and u.ready_at is not null for update of u skip locked
), parked as (
    update units u set ready_at = null from free f where u.id = f.id
), ended as (
    update attempts a
    set started_at = s.started_at, ended_at = s.ended_at, outcome = 'cancelled', units_done = s.attempt_done,
        units_redone = s.attempt_redone, units_failed = s.failed_units
    from stopped s where s.state = 'cancelled' and a.job_id = s.id and a.number = s.attempt
), logged as (
    insert into events (job_id, attempt, name) select id, attempt, state from stopped
)
select id, tenant_id, capped, subject, state from stopped;

-- name: fail_closed
-- Jobs whose phase is closed with failed units: the attempt failed. The first failure speaks for it.
with failed as (
    update jobs j
    set state = 'failed', wanted = null, ended_at = clock_timestamp(), failure = f.failure,
        fingerprint = f.failure ->> 'fingerprint'
    from (select distinct on (u.job_id) u.job_id, u.failure from units u
          where u.job_id = any(%(job_ids)s::bigint[]) and u.state = 'failed' order by u.job_id, u.ended_at, u.id) as f
    where j.id = f.job_id and j.open_units = 0 and j.live_units = 0 and j.failed_units > 0
      and j.state in ('queued', 'running')
    returning j.*
), ended as (
    update attempts a
    set started_at = f.started_at, ended_at = f.ended_at, outcome = 'failed', failure = f.failure,
        units_done = f.attempt_done, units_redone = f.attempt_redone, units_failed = f.failed_units
    from failed f where a.job_id = f.id and a.number = f.attempt
), logged as (
    insert into events (job_id, attempt, name, data) select id, attempt, 'failed', failure from failed
)
select id, tenant_id, capped, subject from failed;

-- name: advance
-- Jobs whose phase is closed without failures go on to the next phase that has units.
with next as (
    select j.id, n.phase, (select count(*) from units u where u.job_id = j.id and u.phase = n.phase
                           and u.state in ('waiting', 'running', 'unknown')) as open
    from jobs j
    cross join lateral (select u.phase from units u
                        where u.job_id = j.id and u.phase > j.phase and u.state = 'waiting' and u.ready_at is null
                        order by u.phase limit 1) as n
    where j.id = any(%(job_ids)s::bigint[]) and j.open_units = 0 and j.failed_units = 0
      and j.state in ('queued', 'running')
)
update jobs j set phase = n.phase, open_units = n.open from next n where j.id = n.id
returning j.id;

-- name: release
-- Let parked units of the current phase out, up to a number for each job.
with room as (
    select * from unnest(%(job_ids)s::bigint[], %(counts)s::int[]) as t (job_id, free)
), out as (
    select u.id from room r
    join jobs j on j.id = r.job_id and j.wanted is null and j.state in ('queued', 'running') and not j.held
    cross join lateral (select u.id from units u
                        where u.job_id = j.id and u.phase = j.phase and u.state = 'waiting' and u.ready_at is null
                        order by u.id limit r.free) as u
)
update units u set ready_at = greatest(now(), j.run_at)
from out, jobs j where u.id = out.id and j.id = u.job_id
returning u.id;

-- name: free_lanes
-- How many more units of each job may be ready at once.
select j.id as job_id,
       greatest(0, j.lanes - (select count(*) from units u where u.job_id = j.id and u.phase = j.phase
                              and u.ready_at is not null and u.state in ('waiting', 'running', 'unknown'))) as free
from jobs j where j.id = any(%(job_ids)s::bigint[]);

-- name: admit
-- Held jobs whose caps leave room become claimable: of one subject, or (subject null, or the tenant has a cap)
-- of all. Callers hold the tenant's advisory lock.
with tenant as (
    select (select active_jobs from tenant_caps where tenant_id = %(tenant_id)s) as cap
), active as (
    select subject, count(*) as n from jobs
    where tenant_id = %(tenant_id)s and capped and not held and state in ('queued', 'running') group by subject
), candidates as (
    select j.id, j.priority, j.subject, j.subject_cap,
           row_number() over (partition by j.subject order by j.priority desc, j.id) as place
    from jobs j left join active a on a.subject = j.subject
    where j.tenant_id = %(tenant_id)s and j.held and j.run_at <= now() and j.wanted is null
      and (%(subject)s::text is null or j.subject = %(subject)s or (select cap from tenant) is not null)
      and (j.subject is null or j.subject_cap is null or coalesce(a.n, 0) < j.subject_cap)
    order by j.priority desc, j.id limit 1000
), fitting as (
    select c.id, row_number() over (order by c.priority desc, c.id) as place
    from candidates c left join active a on a.subject = c.subject
    where c.subject_cap is null or c.subject is null or c.place + coalesce(a.n, 0) <= c.subject_cap
), chosen as (
    select f.id from fitting f cross join tenant t
    where t.cap is null or f.place <= t.cap - coalesce((select sum(n) from active), 0)
)
update jobs set held = false where id in (select id from chosen) and held
returning id, lanes;

-- name: lock_tenant_admission
select pg_advisory_xact_lock(7203, hashtext(%(tenant_id)s::text));

-- name: try_tenant_admission
select pg_try_advisory_xact_lock(7203, hashtext(%(tenant_id)s::text)) as locked;
