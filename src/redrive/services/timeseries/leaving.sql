-- name: endless_jobs
select id, kind, state from jobs
where tenant_id = %(tenant_id)s and kind = any(%(kinds)s::text[])
order by id for update

-- name: forget_latest
delete from timeseries_latest where tenant_id = %(tenant_id)s

-- name: forget_assets
delete from timeseries_assets where tenant_id = %(tenant_id)s

-- name: forget_models
delete from timeseries_models where tenant_id = %(tenant_id)s
