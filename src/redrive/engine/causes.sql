-- name: failures
-- Failed jobs by cause, most first. The counts come from an index alone where it carries ended_at (and the
-- visibility map is fresh); the rest is looked up for the few groups that are shown.
with groups as materialized (
    select fingerprint, count(*) as jobs, min(ended_at) as first_seen, max(ended_at) as last_seen
    from jobs
    where tenant_id = %(tenant_id)s and fingerprint is not null
    group by fingerprint
), shown as (
    select * from groups g
    where %(kinds)s::text[] is null
       or (select j.kind from jobs j where j.tenant_id = %(tenant_id)s and j.fingerprint = g.fingerprint
           order by j.id desc limit 1) = any(%(kinds)s::text[])
    order by jobs desc, fingerprint limit %(limit)s
)
select s.fingerprint, s.jobs, s.first_seen, s.last_seen, e.kind, e.failure, e.examples
from shown s
cross join lateral (
    select (array_agg(x.kind))[1] as kind, (array_agg(x.failure))[1] as failure,
           array_agg(x.id order by x.id desc) as examples
    from (select j.id, j.kind, j.failure from jobs j
          where j.tenant_id = %(tenant_id)s and j.fingerprint = s.fingerprint order by j.id desc limit 5) as x
    ) as e
where e.kind is not null
order by s.jobs desc, s.fingerprint;
