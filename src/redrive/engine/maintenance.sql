-- name: lapse
-- Units whose lease ran out: waiting again, or unknown where the kind can look at its target. What somebody
-- else has locked (a runner behind its fence is alive) is left for the next round, so this never waits.
-- While the database was away nobody could prolong a lease: owners get one lease's time after its start.
-- A unit that lapses again and again waits longer each time, so that one that kills its worker does not take
-- those down that were claimed with it.
with lapsed as materialized (
    select id, job_id, claim from units
    where state = 'running' and lease_until < clock_timestamp()
      and pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %(lease_seconds)s)
    limit 5000 for update skip locked
), owners as materialized (
    select id, wanted from jobs where id in (select job_id from lapsed) order by id for update skip locked
), back as (
    update units u
    set state = case when u.kind = any(%(probed)s::text[]) then 'unknown' else 'waiting' end,
        ready_at = case when u.kind = any(%(probed)s::text[]) or o.wanted is null
                        then clock_timestamp() + make_interval(secs => 2 ^ least(u.lapses, 5) - 1) end,
        lease_until = null, lapses = u.lapses + 1
    from lapsed l join owners o on o.id = l.job_id
    where u.id = l.id and u.claim = l.claim and u.state = 'running' and u.lease_until < clock_timestamp()
      and u.kind = any(%(kinds)s::text[])
    returning u.job_id, u.attempt, u.id, u.state, u.worker_id, u.claim
), tally as (
    select job_id, count(*) filter (where state = 'waiting') as waiting from back group by job_id
), moved as (
    update jobs j set live_units = j.live_units - t.waiting
    from tally t where j.id = t.job_id
    returning j.id
), logged as (
    insert into events (job_id, attempt, name, data)
    select job_id, attempt, 'lease_lapsed',
           jsonb_build_object('unit', id::text, 'worker', worker_id::text, 'claim', claim, 'now', state) from back
)
select id from moved;

-- name: tenants_with_held
select distinct tenant_id from jobs where held and run_at <= now() and wanted is null;
