-- Deletion jobs of samples, and the legal holds that they respect. In words: services/timeseries/deletion.py.

create table timeseries_deletions (
    job_id           bigint primary key,
    tenant_id        bigint not null,
    model_id         text not null,
    point_id         text,
    asset_ids        text[] not null,
    start_ms         bigint not null,
    end_ms           bigint not null,
    actor            text not null,
    -- what was stored up to here is deleted; set at the first launch and never moved
    cutoff_seq       bigint,
    constraint deletion_range check (start_ms <= end_ms)
);
create index timeseries_deletions_listed on timeseries_deletions (tenant_id, job_id desc);

create table timeseries_holds (
    id               bigint primary key,
    tenant_id        bigint not null,
    name             text not null,
    reason           text not null,
    box              jsonb not null,
    actor            text not null,
    created_at       timestamptz not null default now(),
    lifted_at        timestamptz,
    lifted_by        text,
    constraint hold_lifted check ((lifted_at is null) = (lifted_by is null))
);
create unique index timeseries_holds_live on timeseries_holds (tenant_id, name) where lifted_at is null;

-- The continuous jobs that keep a tenant's tables in order, made once per tenant.
create table timeseries_upkeep (
    tenant_id        bigint not null,
    kind             text not null,
    job_id           bigint not null,
    primary key (tenant_id, kind)
);
