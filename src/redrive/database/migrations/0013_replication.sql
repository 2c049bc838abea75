-- Replication: tasks, their structure as it was when the task began, and the snapshots that chunks share.
-- What they mean: redrive/services/replication/__init__.py.

create table replication_tasks (
    id               bigint generated always as identity primary key,
    tenant_id        bigint not null references tenants (id),
    -- as the vendor's calls name it
    vendor_id        text not null unique check (length(vendor_id) = 36),
    settings         jsonb not null,
    source           jsonb,
    source_secret    bytea,
    target           jsonb,
    target_secret    bytea,
    -- which ends have been reached with what is stored
    source_tested_at timestamptz,
    target_tested_at timestamptz,
    -- moved by every change that a precheck has looked at
    revision         integer not null default 1,
    precheck_job_id  bigint references jobs (id),
    precheck_revision integer,
    job_id           bigint unique references jobs (id),
    -- since when it is told to stop for good, and the job that clears up in the target
    released_at      timestamptz,
    release_job_id   bigint unique references jobs (id),
    deleted_at       timestamptz,
    created_at       timestamptz not null default now(),
    changed_at       timestamptz not null default now()
);
create unique index replication_task_name on replication_tasks (tenant_id, lower(settings ->> 'name')) where deleted_at is null;
create index replication_tasks_of_tenant on replication_tasks (tenant_id, id) where deleted_at is null;
create index replication_tasks_by_precheck on replication_tasks (precheck_job_id);

-- The structure of the source, dumped once by the plan: every later unit makes a part of it.
create table replication_structures (
    job_id           bigint primary key references jobs (id),
    dump             bytea not null,
    -- what chosen tables refer to: SQL, to be passed over where it is there already
    before           text[] not null
);

-- The snapshot that chunks read while its holder lives.
create table replication_snapshots (
    job_id           bigint primary key references jobs (id),
    name             text not null,
    made_at          timestamptz not null default now()
);
