-- Workspaces: what is provisioned for a tenant. What it means: redrive/services/workspaces/__init__.py.

-- Data calls of a tenant are answered while it is open: from the end of its registration to its deregistration.
alter table tenants add column open boolean not null default false;
-- Where calls of the tenant may come from. Null: from anywhere.
alter table tenants add column allowed_from cidr[];
-- What was there before there were workspaces stays open; the server registers it at its next start.
update tenants set open = true;

-- Subnets by name, so that a registration can name them and they can be checked.
create table workspace_subnets (
    tenant_id        bigint not null references tenants (id),
    id               text not null,
    vpc_id           text not null,
    cidr             cidr not null,
    created_at       timestamptz not null default now(),
    primary key (tenant_id, id)
);

create table workspaces (
    tenant_id        bigint primary key references tenants (id),
    -- everything that was asked for; no secrets
    settings         jsonb not null,
    -- moved by every change, so that a step can say with which it was done
    revision         integer not null default 1,
    directory_password bytea,
    -- the last registration or deregistration, and the last of any kind
    job_id           bigint not null,
    task_job_id      bigint not null,
    registered_at    timestamptz,
    -- what the steps have made
    enterprise_id    text,
    schema_name      text,
    role_name        text,
    endpoints        jsonb not null default '{}',
    locked_at        timestamptz,
    lock_reason      text not null default '',
    created_at       timestamptz not null default now(),
    changed_at       timestamptz not null default now()
);
create unique index workspaces_enterprise on workspaces (lower(enterprise_id)) where enterprise_id is not null;

-- A tenant that is being deregistered takes no more samples, also those of calls that began before.
alter table ingest_heads add column closed boolean not null default false;

-- The key of a tenant's own secrets and copies, sealed with the master key. Without it they cannot be opened.
create table tenant_keys (
    tenant_id        bigint primary key references tenants (id),
    sealed           bytea not null,
    created_at       timestamptz not null default now()
);
