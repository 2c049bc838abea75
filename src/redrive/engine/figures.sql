-- name: jobs_by_state
-- An index alone answers it.
select kind, state, count(*) as count from jobs group by kind, state order by kind, state;

-- name: units_at_work
-- Only units that are at work or could be: each count has an index that holds nothing else.
select (select count(*) from units where state = 'running') as running,
       (select count(*) from units where state = 'unknown' and ready_at is not null) as unknown,
       ready.count as ready,
       greatest(0, coalesce(extract(epoch from clock_timestamp() - ready.oldest), 0)) as oldest_seconds
from (
    select count(*) as count, min(ready_at) as oldest
    from units
    where state in ('waiting', 'unknown') and ready_at is not null and ready_at <= clock_timestamp()
) as ready;

-- name: living_workers
select count(*) as count from workers
where stopped_at is null and seen_at > clock_timestamp() - interval '10 seconds';
