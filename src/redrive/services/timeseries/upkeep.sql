-- name: claim_upkeep
insert into timeseries_upkeep (tenant_id, kind, job_id) values (%(tenant_id)s, %(kind)s, 0)
on conflict do nothing
returning tenant_id;

-- name: set_upkeep_job
update timeseries_upkeep set job_id = %(job_id)s where tenant_id = %(tenant_id)s and kind = %(kind)s;
