-- The journal of the sample store: what is being written or removed, and what a commit did.

-- One row per change of a table that is under way. Files are named here before they are touched, so that they
-- are found and removed after a crash. The row goes when the change is over.
create table timeseries_writes (
    id               bigint primary key,
    org_id           text not null,
    kind             text not null check (kind in ('append', 'erase', 'compact')),
    app_id           text not null,
    claim            bigint not null,
    -- the least ingest sequence that the new files hold; null: those of the files that they replace
    seq_min          bigint,
    outputs          text[] not null default '{}',
    inputs           text[] not null default '{}',
    touched_at       timestamptz not null default clock_timestamp(),
    constraint write_source check ((seq_min is null) = (kind <> 'append'))
);
create index timeseries_writes_of_org on timeseries_writes (org_id, app_id);

-- What a commit is about to do, written before it. It counts only where the table's log holds the same number
-- for <app id>/effect.
create table timeseries_effects (
    org_id           text not null,
    app_id           text not null,
    number           bigint not null,
    ledger           jsonb not null,
    created_at       timestamptz not null default clock_timestamp(),
    primary key (org_id, app_id, number)
);
create index timeseries_effects_by_age on timeseries_effects (created_at);
