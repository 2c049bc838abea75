-- name: lock_making
-- Of several units that come first one makes the tables.
select pg_advisory_xact_lock(7207, 1)

-- name: prepare
create schema if not exists redrive;
create table if not exists redrive.replication_units (
    task    text not null,
    unit    bigint not null,
    claim   bigint not null,
    -- the session of the claim: ended where it is frozen and another claim comes
    pid     integer not null,
    since   timestamptz not null,
    ledger  jsonb,
    primary key (task, unit)
);
create table if not exists redrive.replication_tables (
    task       text not null,
    name       text not null,
    generation integer not null,
    snapshot   text not null,
    begun_by   bigint not null,
    primary key (task, name)
)

-- name: is_prepared
select to_regclass('redrive.replication_units') is not null as there

-- name: take
insert into redrive.replication_units as u (task, unit, claim, pid, since)
select %(task)s, %(unit)s, %(claim)s, a.pid, a.backend_start from pg_stat_activity a where a.pid = pg_backend_pid()
on conflict (task, unit) do update set claim = excluded.claim, pid = excluded.pid, since = excluded.since
where u.claim <= excluded.claim
returning u.ledger

-- name: end_former
-- The session of an older claim, and no other one that has its number by now.
select pg_terminate_backend(a.pid) from redrive.replication_units u
join pg_stat_activity a on a.pid = u.pid and a.backend_start = u.since
where u.task = %(task)s and u.unit = %(unit)s and u.claim < %(claim)s and a.pid <> pg_backend_pid()

-- name: held
select claim, ledger from redrive.replication_units where task = %(task)s and unit = %(unit)s for update

-- name: put_ledger
update redrive.replication_units set ledger = %(ledger)s::jsonb where task = %(task)s and unit = %(unit)s

-- name: begin_table
insert into redrive.replication_tables (task, name, generation, snapshot, begun_by)
values (%(task)s, %(name)s, %(number)s, %(snapshot)s, %(unit)s) on conflict (task, name) do nothing

-- name: table_begun
-- Shared: chunks of one generation go on beside each other; who begins anew waits for them.
select generation, snapshot, begun_by from redrive.replication_tables
where task = %(task)s and name = %(name)s for share

-- name: lock_table
-- Whoever begins anew waits for chunks that are being written, and keeps others out.
select from redrive.replication_tables where task = %(task)s and name = %(name)s for update

-- name: begin_table_anew
update redrive.replication_tables
set generation = %(number)s, snapshot = %(snapshot)s, begun_by = %(unit)s
where task = %(task)s and name = %(name)s

-- name: forget_units
delete from redrive.replication_units where task = %(task)s

-- name: forget_tables
delete from redrive.replication_tables where task = %(task)s

-- name: anything_left
select exists (select from redrive.replication_units) as there

-- name: drop
drop schema redrive cascade

-- name: wait_a_while
set local lock_timeout = '1s'
