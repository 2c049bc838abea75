-- Models, assets, latest values, the mover's place, imports at work. What they mean: redrive/services/timeseries.

create table timeseries_models (
    tenant_id        bigint not null,
    id               text not null,
    name             text not null default '',
    -- null: kept for good; counted from the moment of storage
    retention_days   integer check (retention_days > 0),
    created_at       timestamptz not null default now(),
    changed_at       timestamptz not null default now(),
    primary key (tenant_id, id)
);

create table timeseries_points (
    tenant_id        bigint not null,
    model_id         text not null,
    id               text not null,
    value_type       text not null
                     check (value_type in ('any', 'double', 'integer', 'boolean', 'string', 'json')),
    -- null: every storage type (no policy was set); empty: the policy was cancelled
    storage_types    text[],
    retention_days   integer check (retention_days > 0),
    primary key (tenant_id, model_id, id),
    foreign key (tenant_id, model_id) references timeseries_models (tenant_id, id) on delete cascade
);

create table timeseries_assets (
    tenant_id        bigint not null,
    id               text not null,
    name             text not null default '',
    model_id         text,
    model_path       text not null default '',
    time_zone        text not null default 'UTC',
    product_key      text,
    device_key       text,
    created_at       timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, model_id) references timeseries_models (tenant_id, id),
    constraint asset_device check ((product_key is null) = (device_key is null)),
    constraint asset_device_once unique (tenant_id, product_key, device_key)
);
create index timeseries_assets_of_model on timeseries_assets (tenant_id, model_id, id) where model_id is not null;

-- The newest value by its own time of each point of an asset, and since when it has not changed. A row
-- without a kind holds no value, only up to which sequence values were deleted.
create table timeseries_latest (
    tenant_id        bigint not null,
    asset            text not null,
    point            text not null,
    kind             smallint,
    time_ms          bigint,
    number           float8,
    text             text,
    quality          integer,
    seq              bigint,
    stored_ms        bigint,
    changed_ms       bigint,
    latest_deleted_seq  bigint not null default 0,
    changed_deleted_seq bigint not null default 0,
    primary key (tenant_id, asset, point),
    constraint latest_whole check (
        (kind is null) = (time_ms is null) and (kind is null) = (seq is null)
        and (kind is null) = (stored_ms is null) and (kind is null) = (changed_ms is null))
) with (fillfactor = 70);
create index timeseries_latest_empty on timeseries_latest (tenant_id) where kind is null;
alter table timeseries_latest set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);

-- The mover of each tenant. Its place in the log is that of the reader "timeseries".
create table timeseries_moves (
    tenant_id        bigint primary key,
    job_id           bigint not null,
    -- fences the mover's table commits; only grows, also over jobs
    fence            bigint not null default 0,
    -- a move began and its end is not recorded: its table commit may stand
    open             boolean not null default false,
    drain_through    bigint not null default 0,
    moves            bigint not null default 0,
    moved_rows       bigint not null default 0,
    moved_at         timestamptz
) with (fillfactor = 20);

-- Import units that took a sequence and are not in the tables yet. A deletion waits for the older ones.
create table timeseries_open_imports (
    unit_id          bigint primary key,
    tenant_id        bigint not null,
    seq              bigint not null,
    stored_ms        bigint not null
);
create index timeseries_open_imports_by_seq on timeseries_open_imports (tenant_id, seq);
