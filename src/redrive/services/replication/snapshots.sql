-- name: snapshot
select name from replication_snapshots where job_id = %(job_id)s

-- name: add_snapshot
insert into replication_snapshots (job_id, name) values (%(job_id)s, %(name)s) on conflict do nothing

-- name: replace_snapshot
update replication_snapshots set name = %(name)s, made_at = now()
where job_id = %(job_id)s and name = %(former)s

-- name: forget_snapshot
delete from replication_snapshots where job_id = %(job_id)s

-- name: standing
select j.id, j.phase, s.name, j.state in ('queued', 'running') as active
from jobs j join replication_snapshots s on s.job_id = j.id
where j.id = any(%(job_ids)s::bigint[])
