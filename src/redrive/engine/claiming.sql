-- name: claim
-- Take up to n units. Order of locks: units (skipping locked ones), then their jobs in id order.
-- A unit whose job was paused, cancelled or held meanwhile comes back unclaimed (claim is null).
with picked as materialized (
    select id, job_id, state as was
    from units
    where state in ('waiting', 'unknown') and ready_at <= now() and kind = any(%(kinds)s::text[])
    order by priority desc, ready_at, id
    limit %(count)s
    for update skip locked
), counts as (
    select job_id, count(*) filter (where was = 'waiting') as waiting, count(*) filter (where was = 'unknown') as unknown
    from picked group by job_id
), owners as materialized (
    select id from jobs where id in (select job_id from counts) order by id for update
), moved as (
    update jobs j
    set state = 'running', started_at = coalesce(j.started_at, now()),
        live_units = j.live_units + case when j.wanted is null then c.waiting else 0 end
    from counts c join owners o on o.id = c.job_id
    where j.id = c.job_id and j.state in ('queued', 'running') and not j.held
      and (j.wanted is null or c.unknown > 0)
    returning j.id, j.attempt, j.wanted, j.spec
), claimed as (
    update units u
    set state = 'running', attempt = m.attempt, claim = u.claim + 1, worker_id = %(worker_id)s,
        lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s),
        started_at = coalesce(u.started_at, now())
    from picked p join moved m on m.id = p.job_id
    where u.id = p.id and (m.wanted is null or p.was = 'unknown')
    returning u.id, u.claim, u.attempt, u.tenant_id, u.kind, u.phase, u.label, u.spec, u.tries, u.lapses, u.cursor, m.spec as job_spec,
              m.wanted
)
select p.id, p.job_id, p.was, c.claim, c.attempt, c.tenant_id, c.kind, c.phase, c.label, c.spec, c.tries, c.lapses, c.cursor,
       c.job_spec, c.wanted
from picked p left join claimed c on c.id = p.id;

-- name: park
-- Picked but not claimed: their job does not want to run; not claimable until it is resumed.
update units set ready_at = null where id = any(%(unit_ids)s::bigint[]) and state = 'waiting';

-- name: next_ready
-- Seconds until the next unit can be claimed, null where there is none.
select extract(epoch from min(ready_at) - now())::float8 as seconds
from (select ready_at from units
      where state in ('waiting', 'unknown') and ready_at is not null and kind = any(%(kinds)s::text[])
      order by priority desc, ready_at limit 100) as soon;

-- name: heartbeat
-- Prolong the leases that are still ours; answer what their jobs want. A unit that its own runner has locked
-- (behind its fence) is left out this time: nobody can take it meanwhile.
with held as (
    select * from unnest(%(unit_ids)s::bigint[], %(claims)s::int[]) as t (unit_id, claim)
), mine as materialized (
    select u.id from units u join held h on h.unit_id = u.id and h.claim = u.claim
    where u.state = 'running' for update of u skip locked
), prolonged as (
    update units u set lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
    from mine m where u.id = m.id
)
select u.id, j.wanted
from held h join units u on u.id = h.unit_id and u.claim = h.claim and u.state = 'running'
join jobs j on j.id = u.job_id;

-- name: save_cursor
-- A continuous unit's progress, fenced; no row where the claim is stale. Progress restarts the budget.
update units set cursor = %(cursor)s::jsonb, tries = 0
where id = %(unit_id)s and attempt = %(attempt)s and claim = %(claim)s and state = 'running'
returning id;

-- name: still_held
-- The fence for a transaction in our own PostgreSQL: locks the unit's row while the claim is good.
select id from units
where id = %(unit_id)s and attempt = %(attempt)s and claim = %(claim)s and state = 'running'
for update;

-- name: register_worker
insert into workers (id, host, pid, kinds) values (%(id)s, %(host)s, %(pid)s, %(kinds)s);

-- name: worker_seen
update workers set seen_at = clock_timestamp() where id = %(id)s;

-- name: worker_stopped
update workers set stopped_at = clock_timestamp() where id = %(id)s;

-- name: expire_worker
-- The process is known to be gone: its leases end now instead of running out.
update units set lease_until = clock_timestamp() - interval '1 second'
where state = 'running' and worker_id in (
    select id from workers where host = %(host)s and pid = %(pid)s and stopped_at is null);

-- name: armed_failpoints
select name, action from failpoints;
