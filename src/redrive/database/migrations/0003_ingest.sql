-- The durable log of accepted batches. What it guarantees: redrive/ingest/__init__.py.

-- One row per tenant, locked by every append until it commits: sequence order is commit order.
create table ingest_heads (
    tenant_id        bigint primary key,
    head_seq         bigint not null default 0 check (head_seq >= 0),
    -- moved by changes that writers in all processes must notice, such as a removed asset
    epoch            bigint not null default 0
) with (fillfactor = 10);

create table ingest_log (
    tenant_id        bigint not null,
    seq              bigint not null,
    channel          text not null check (channel in ('realtime', 'offline')),
    rows             integer not null check (rows > 0),
    -- stored, and decoded: a small batch may stand for a large one
    bytes            integer not null,
    memory           bigint not null,
    min_ms           bigint not null,
    max_ms           bigint not null,
    stored_ms        bigint not null,
    batch            bytea not null,
    primary key (tenant_id, seq)
);
-- Batches are compressed before they come here.
alter table ingest_log alter column batch set storage external;
-- Rows live for seconds: clean up by number, not by share.
alter table ingest_log set (
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1,
    toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_insert_threshold = -1);

-- How far each reader of a tenant's log has got. A batch is dropped when all of them are past it.
create table ingest_readers (
    tenant_id        bigint not null,
    reader           text not null,
    through_seq      bigint not null default 0 check (through_seq >= 0),
    primary key (tenant_id, reader)
) with (fillfactor = 50);
