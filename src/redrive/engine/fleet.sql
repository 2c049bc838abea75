-- name: workers
-- Workers that live or were here lately, with the units they run. The table is small: one row a process start.
select w.id, w.host, w.pid, w.kinds, w.started_at, w.seen_at, w.stopped_at, coalesce(r.units, 0) as units,
       case when w.stopped_at is not null then 'stopped'
            when w.seen_at > clock_timestamp() - interval '10 seconds' then 'alive'
            else 'lost' end as state
from workers w
left join (select worker_id, count(*) as units from units where state = 'running' group by worker_id) r
       on r.worker_id = w.id
where w.stopped_at is null and w.seen_at > clock_timestamp() - interval '1 day'
   or w.stopped_at > clock_timestamp() - interval '1 hour'
order by w.started_at desc, w.id desc
limit 1000;

-- name: armed_failpoints
select name, action from failpoints order by name;

-- name: disarm_failpoints
delete from failpoints;

-- name: arm_failpoints
insert into failpoints (name, action)
select * from unnest(%(names)s::text[], %(actions)s::text[]);

-- name: announce_failpoints
select pg_notify('redrive_failpoints', '');
