-- name: find
select job_id, open from timeseries_moves where tenant_id = %(tenant_id)s;

-- name: org_id
select org_id from tenants where id = %(tenant_id)s;

-- name: add
insert into timeseries_moves (tenant_id, job_id) values (%(tenant_id)s, %(job_id)s);

-- name: lock_tenant
-- One process makes a tenant's mover.
select pg_advisory_xact_lock(7205, hashint8(%(tenant_id)s));

-- name: begin
-- A move begins: it gets the next fence, and stays open until its end is recorded.
update timeseries_moves set fence = fence + 1, open = true where tenant_id = %(tenant_id)s returning fence;

-- name: finish
update timeseries_moves
set open = %(open)s, moves = moves + %(moves)s, moved_rows = moved_rows + %(rows)s, moved_at = clock_timestamp()
where tenant_id = %(tenant_id)s and fence = %(fence)s
returning drain_through;

-- name: request_drain
update timeseries_moves set drain_through = greatest(drain_through, %(through_seq)s)
where tenant_id = %(tenant_id)s
returning job_id;

-- name: waiting
-- Whether anything up to a sequence is not in the tables yet: batches, or imports at work.
select exists (select from ingest_log where tenant_id = %(tenant_id)s and seq <= %(through_seq)s
               and seq > coalesce((select through_seq from ingest_readers
                                   where tenant_id = %(tenant_id)s and reader = 'timeseries'), 0))
       or exists (select from timeseries_open_imports
                  where tenant_id = %(tenant_id)s and seq <= %(through_seq)s) as waiting;

-- name: settled_through
-- The sequence up to which nothing is on its way any more.
select least(%(through_seq)s, coalesce((select min(seq) - 1 from timeseries_open_imports
                                        where tenant_id = %(tenant_id)s), %(through_seq)s))::bigint as seq;

-- name: what_is_wrong
-- The failure of something that brings samples into the tables and does not get on.
with concerned as (
    select unit_id as id from timeseries_open_imports where tenant_id = %(tenant_id)s
    union
    select u.id from timeseries_moves m join units u on u.job_id = m.job_id where m.tenant_id = %(tenant_id)s
)
select u.job_id, u.kind, u.failure ->> 'detail' as detail
from concerned c join units u on u.id = c.id
where u.failure is not null and u.state in ('waiting', 'unknown', 'failed')
order by u.job_id limit 1;
