-- Jobs, their units, attempts and events. The rules in words: redrive/engine/model.py.

create table jobs (
    id               bigint primary key,
    tenant_id        bigint not null,
    kind             text not null,
    subject          text,
    subject_cap      integer check (subject_cap > 0),
    spec             jsonb not null,
    priority         smallint not null default 0,
    lanes            integer not null check (lanes between 1 and 10000),
    state            text not null,
    wanted           text,
    held             boolean not null default false,
    capped           boolean not null default false,
    attempt          integer not null default 1,
    phase            smallint not null default 0,
    -- units: all of the job / of the current phase not yet closed / running or unknown
    total_units      integer not null default 0,
    open_units       integer not null default 0,
    live_units       integer not null default 0,
    done_units       integer not null default 0,
    skipped_units    integer not null default 0,
    failed_units     integer not null default 0,
    -- of the present attempt
    attempt_done     integer not null default 0,
    attempt_redone   integer not null default 0,
    failure          jsonb,
    fingerprint      text,
    origin_id        bigint,
    actor            text not null,
    run_at           timestamptz not null,
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    ended_at         timestamptz,
    constraint job_state check (state in ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    constraint job_wanted check (wanted in ('pause', 'cancel') and state in ('queued', 'running') or wanted is null),
    constraint job_ended check ((ended_at is not null) = (state in ('succeeded', 'failed', 'cancelled'))),
    constraint job_failure check ((failure is not null) = (state = 'failed')),
    constraint job_live check (live_units >= 0 and (live_units = 0 or state in ('queued', 'running'))),
    constraint job_held check (not held or state = 'queued'),
    constraint job_counts check (open_units >= 0 and done_units + skipped_units + failed_units <= total_units),
    constraint job_succeeded check (state <> 'succeeded' or done_units + skipped_units = total_units)
) with (fillfactor = 80);

-- One index serves every list: equality on tenant, kind and state, then newest first (see jobs.sql).
create index jobs_listed on jobs (tenant_id, kind, state, id);
create index jobs_by_subject on jobs (tenant_id, subject, id) where subject is not null;
create index jobs_by_fingerprint on jobs (tenant_id, fingerprint, id) include (ended_at)
    where fingerprint is not null;
create index jobs_held on jobs (tenant_id, priority desc, id) where held;
create index jobs_held_by_subject on jobs (tenant_id, subject, priority desc, id) where held;
create index jobs_capped on jobs (tenant_id) where capped and not held and state in ('queued', 'running');
create index jobs_by_origin on jobs (origin_id) where origin_id is not null;

create table units (
    id               bigint primary key,
    job_id           bigint not null,
    tenant_id        bigint not null,
    kind             text not null,
    phase            smallint not null,
    label            text not null default '',
    planned          boolean not null default false,
    spec             jsonb not null default '{}',
    state            text not null default 'waiting',
    priority         smallint not null default 0,
    -- from when it can be claimed; null: a later phase, no free lane, job paused or held
    ready_at         timestamptz,
    attempt          integer not null default 0,
    claim            integer not null default 0,
    tries            integer not null default 0,
    worker_id        bigint,
    lease_until      timestamptz,
    -- how many claims in a row vanished: what the last one did may be there in part
    lapses           smallint not null default 0,
    cursor           jsonb,
    ledger           jsonb,
    failure          jsonb,
    started_at       timestamptz,
    ended_at         timestamptz,
    constraint unit_state check (state in ('waiting', 'running', 'done', 'failed', 'unknown', 'skipped')),
    constraint unit_lease check ((state = 'running') = (lease_until is not null)),
    constraint unit_ready check (ready_at is null or state in ('waiting', 'running', 'unknown')),
    constraint unit_failure check (state <> 'failed' or failure is not null),
    constraint unit_ended check ((ended_at is not null) = (state in ('done', 'failed', 'skipped')))
) with (fillfactor = 80);

create index units_claimable on units (priority desc, ready_at, id)
    where state in ('waiting', 'unknown') and ready_at is not null;
create index units_of_job on units (job_id, phase, id);
create index units_running on units (id) where state = 'running';
-- Parked units wait for a lane or for their phase; failed ones for a person.
create index units_parked on units (job_id, phase, id) where state = 'waiting' and ready_at is null;
create index units_failed on units (job_id, id) where state = 'failed';

create table attempts (
    job_id           bigint not null,
    number           integer not null,
    id               bigint generated always as identity,
    cause            text not null check (cause in ('submit', 'retry', 'rerun')),
    actor            text not null,
    reason           text not null default '',
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    ended_at         timestamptz,
    outcome          text check (outcome in ('succeeded', 'failed', 'cancelled')),
    failure          jsonb,
    units_done       integer not null default 0,
    units_redone     integer not null default 0,
    units_failed     integer not null default 0,
    primary key (job_id, number),
    constraint attempt_ended check ((ended_at is not null) = (outcome is not null))
) with (fillfactor = 80);

create table events (
    id               bigint generated always as identity,
    job_id           bigint not null,
    at               timestamptz not null default clock_timestamp(),
    attempt          integer not null,
    name             text not null,
    actor            text not null default '',
    data             jsonb
);
create index events_of_job on events (job_id, id);

-- An id in a vendor's shape names one job, or one attempt of it, on one vendor surface.
create table vendor_ids (
    surface          text not null,
    vendor_id        text not null,
    job_id           bigint not null,
    attempt          integer,
    primary key (surface, vendor_id)
);
create index vendor_ids_of_job on vendor_ids (job_id);

create table workers (
    id               bigint primary key,
    host             text not null,
    pid              integer not null,
    kinds            text[] not null,
    started_at       timestamptz not null default clock_timestamp(),
    seen_at          timestamptz not null default clock_timestamp(),
    stopped_at       timestamptz
);

create table tenant_caps (
    tenant_id        bigint primary key,
    active_jobs      integer not null check (active_jobs > 0)
);

create table failpoints (
    name             text primary key,
    action           text not null
);

-- The queue tables change fast; autovacuum must not wait for a fifth of a million rows.
alter table units set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
alter table jobs set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);
