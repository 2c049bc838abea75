-- name: recent_units
-- The units let out last in the present phase, and of these the ones that ended in this attempt. Units are let
-- out in order of id, so the frontier is the first parked one: two short index scans, whatever the job's size.
with frontier as (
    select coalesce((select min(u.id) from units u
                     where u.job_id = %(job_id)s and u.phase = %(phase)s
                       and u.state = 'waiting' and u.ready_at is null), 9223372036854775807) as id
), recent as (
    select u.state, u.started_at, u.ended_at from units u, frontier f
    where u.job_id = %(job_id)s and u.phase = %(phase)s and u.id < f.id
    order by u.id desc limit %(sample)s
)
select count(*) as ended, count(*) filter (where ended_at > clock_timestamp() - interval '30 seconds') as lately,
       extract(epoch from clock_timestamp() - min(greatest(started_at, %(since)s)))::float8 as seconds
from recent
where state in ('done', 'failed', 'skipped') and ended_at >= %(since)s;
