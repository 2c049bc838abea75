-- name: load
select t.id as tenant_id, t.workspace_id as id, t.org_id, t.project_id, t.project_name, t.open, t.allowed_from,
       w.settings, w.revision, w.directory_password, w.directory_secret,
       w.password_revision, w.job_id, w.task_job_id, w.registered_at, w.enterprise_id,
       w.schema_name, w.role_name, w.endpoints, w.locked_at, w.lock_reason,
       j.kind, j.state, j.attempt, j.done_units, j.skipped_units, j.total_units, j.failure,
       coalesce((select jsonb_object_agg(s.id, s.cidr::text) from workspace_subnets s where s.tenant_id = t.id), '{}')
           as known_subnets
from tenants t
left join workspaces w on w.tenant_id = t.id
left join jobs j on j.id = w.job_id
where t.id = %(tenant_id)s

-- name: lock
-- One change of a workspace at a time.
select pg_advisory_xact_lock(7206, hashint8(%(tenant_id)s))

-- name: lock_jobs
-- A job of the workspace that somebody is just retrying, as a job, is waited for; who comes later sees what was decided.
select id from jobs
where id in (select unnest(array[job_id, task_job_id]) from workspaces where tenant_id = %(tenant_id)s)
order by id for no key update

-- name: put
insert into workspaces (tenant_id, settings, directory_password, directory_secret, job_id, task_job_id)
values (%(tenant_id)s, %(settings)s, %(directory_password)s, %(directory_secret)s, %(job_id)s, %(job_id)s)
on conflict (tenant_id) do update
set settings = excluded.settings, directory_password = excluded.directory_password,
    directory_secret = excluded.directory_secret, job_id = excluded.job_id,
    task_job_id = excluded.job_id, revision = workspaces.revision + 1, registered_at = null, locked_at = null,
    lock_reason = '', changed_at = now()

-- name: set_settings
update workspaces
set settings = %(settings)s, revision = revision + 1, changed_at = now()
where tenant_id = %(tenant_id)s

-- name: set_password
update workspaces
set directory_password = %(directory_password)s, directory_secret = %(directory_secret)s,
    password_revision = password_revision + 1
where tenant_id = %(tenant_id)s

-- name: reseal_password
-- The same password under another key.
update workspaces set directory_password = null, directory_secret = %(directory_secret)s
where tenant_id = %(tenant_id)s

-- name: set_job
update workspaces set job_id = %(job_id)s, task_job_id = %(job_id)s, changed_at = now() where tenant_id = %(tenant_id)s

-- name: set_task
update workspaces set task_job_id = %(job_id)s where tenant_id = %(tenant_id)s

-- name: active_jobs
-- Jobs of other services that are not over; those that never end are stopped by the deregistration itself.
select count(*) as n, min(kind) as kind from jobs
where tenant_id = %(tenant_id)s and state in ('queued', 'running', 'paused')
  and kind <> all(%(endless)s::text[]) and kind not like 'workspace.%%'

-- name: active_tasks
select id, kind from jobs
where tenant_id = %(tenant_id)s and state in ('queued', 'running', 'paused') and kind like 'workspace.%%'
order by id limit 1

-- name: left_behind
-- Jobs of the workspace that it is not at any more.
select j.id from jobs j join workspaces w on w.tenant_id = j.tenant_id
where j.tenant_id = %(tenant_id)s and j.kind = any(%(kinds)s::text[]) and j.superseded_by is null
  and j.id not in (w.job_id, w.task_job_id)

-- name: tasks
-- Jobs of the workspace, newest first.
select id from jobs where tenant_id = %(tenant_id)s and kind = any(%(kinds)s::text[]) order by id desc limit %(limit)s

-- name: unregistered
-- Tenants that are open, or were just made, and never had a workspace.
select t.id as tenant_id from tenants t
where not exists (select from workspaces w where w.tenant_id = t.id) and (t.open or t.id = %(first)s)
order by t.id

-- name: is_used
select exists (select from workspaces where lower(enterprise_id) = lower(%(enterprise_id)s)
               and tenant_id <> %(tenant_id)s) as used

-- name: put_subnet
insert into workspace_subnets (tenant_id, id, vpc_id, cidr) values (%(tenant_id)s, %(id)s, %(vpc_id)s, %(cidr)s)
on conflict (tenant_id, id) do update set vpc_id = excluded.vpc_id, cidr = excluded.cidr

-- name: delete_subnet
delete from workspace_subnets where tenant_id = %(tenant_id)s and id = %(id)s returning id

-- name: subnets
select id, vpc_id, cidr::text from workspace_subnets where tenant_id = %(tenant_id)s order by id

-- name: set_allowed
update tenants set allowed_from = %(allowed)s::cidr[] where id = %(tenant_id)s

-- name: set_open
update tenants set open = %(open)s where id = %(tenant_id)s

-- name: set_schema
update workspaces set schema_name = %(schema)s, role_name = %(role)s where tenant_id = %(tenant_id)s

-- name: has_schema
select exists (select from pg_namespace where nspname = %(schema)s) as schema_there,
       exists (select from pg_roles where rolname = %(role)s) as role_there,
       exists (select from pg_roles where rolname = current_user and (rolcreaterole or rolsuper)) as may_make_roles

-- name: set_endpoints
update workspaces set endpoints = %(endpoints)s where tenant_id = %(tenant_id)s

-- name: set_enterprise_id
update workspaces set enterprise_id = %(enterprise_id)s where tenant_id = %(tenant_id)s

-- name: set_registered
update workspaces set registered_at = clock_timestamp() where tenant_id = %(tenant_id)s

-- name: set_closed
update workspaces
set directory_password = null, directory_secret = null, registered_at = null, schema_name = null, role_name = null, endpoints = '{}',
    enterprise_id = null
where tenant_id = %(tenant_id)s

-- name: set_lock
update workspaces
set locked_at = case when %(locked)s then coalesce(locked_at, now()) end, lock_reason = %(reason)s
where tenant_id = %(tenant_id)s

-- name: recorded
-- What each step has recorded last: by a registration, or by a change since. A change that began a step and did not
-- finish it has undone what was there: then nothing is recorded.
select distinct on (u.label) u.label, u.ledger
from jobs j join units u on u.job_id = j.id
where j.tenant_id = %(tenant_id)s and j.id >= %(registration_id)s and j.kind = any(%(kinds)s::text[])
  and u.claim > 0
order by u.label, j.id desc

-- name: age
-- How long ago the present attempt of a job began to be wanted.
select extract(epoch from clock_timestamp() - created_at)::float8 as seconds from jobs where id = %(job_id)s

-- name: open_registered
-- Data calls are answered again where the workspace is registered.
update tenants set open = true
where id = %(tenant_id)s and exists (select from workspaces w join jobs j on j.id = w.job_id
                                     where w.tenant_id = %(tenant_id)s and j.kind = 'workspace.registration'
                                       and j.state = 'succeeded')

-- name: registering
select exists (select from workspaces w join jobs j on j.id = w.job_id
               where j.kind = 'workspace.registration' and j.attempt = 1 and j.state in ('queued', 'running')
                 and j.created_at > now() - interval '1 minute') as found
