"""A database is moved: everything that is in it, table by table, chunk by chunk."""

from __future__ import annotations

from redrive.engine.model import JobState
from redrive.engine.verification import verify
from redrive.services.replication.model import Chosen, Status
from tests.replication.scene import Moving, Server, same

SHOP = """
create extension if not exists plpgsql;
create type colour as enum ('red', 'green', 'a colour with, commas');
create domain amount as numeric(12, 2) check (value >= 0);
create type place as (street text, number int);
create schema stock;
create table customers (
    id bigint generated always as identity primary key,
    name text not null, born date, seen timestamptz, notes jsonb, tags text[], paint colour, home place,
    colours colour[], photo bytea, score double precision, ratio real, big numeric, of_day time, lasts interval,
    upper_name text generated always as (upper(name)) stored
);
create table stock.items (
    code text collate "C", version int, price amount, primary key (code, version), unique (version, code)
);
create table orders (id serial primary key, customer bigint references customers, code text, version int,
    foreign key (code, version) references stock.items, check (version > 0));
create index on orders (customer) where version > 1;
create table log (line text, at timestamptz default now());
create table empty (id int primary key);
create view names as select name, upper_name from customers;
create materialized view counted as select count(*) as n from stock.items with no data;
create materialized view filled as select count(*) as n from customers;
create materialized view twice as select n * 2 as n from filled;
create table nothing ();
create table derived (one int generated always as (1) stored);
create table named (id int primary key, what regclass, kind regtype[]);
create function shout(text) returns text language sql immutable as 'select upper($1)';
create function touched() returns trigger language plpgsql as 'begin new.name := new.name || ''!''; return new; end';
create trigger on_change before update on customers for each row execute function touched();
comment on table customers is 'those who buy';
insert into customers (name, born, seen, notes, tags, paint, home, colours, photo, score, ratio, big, of_day, lasts)
select 'name ' || n || chr(10) || chr(9) || '\\N', date '1900-01-01' + n,
       timestamptz '2026-01-01 00:00Z' + n * interval '1 min',
       jsonb_build_object('n', n, 'deep', jsonb_build_array(n, null)), array['a', null, 'b"' || n],
       'a colour with, commas', ('street "' || n, n)::place, array['red', 'green']::colour[],
       decode(lpad(to_hex(n), 8, '0'), 'hex'), n / 3.0, n / 7.0, power(n::numeric, 9),
       time '00:00' + n * interval '1 s',
       n * interval '1 day 1 microsecond'
from generate_series(1, 4500) n;
insert into customers (name, born, seen, score, big) values
    ('edge', 'infinity', '-infinity', 'NaN', 'NaN'), ('bc', '0044-03-15 BC', null, '-Infinity', -0.0001);
insert into stock.items select 'code ' || n % 70, n, n from generate_series(1, 2500) n;
insert into orders (customer, code, version) select n, 'code ' || n % 70, n from generate_series(1, 1200) n;
insert into nothing default values;
insert into derived default values;
insert into named values (1, 'stock.items', array['colour', 'place']::regtype[]);
refresh materialized view filled;
refresh materialized view twice;
insert into log select 'line ' || n % 10 from generate_series(1, 3000) n;
"""
TABLES = ("customers", "stock.items", "orders", "log")


def test_a_database_is_moved_with_everything_that_is_in_it(moving: Moving, server: Server) -> None:
    source, target = server.make(SHOP), server.make()
    with moving.working():
        task = moving.begun(source, target)
        job = moving.ended(task)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert moving.status(task) is Status.LOADED
    same(server, source, target, *TABLES)
    same(server, source, target, "named", "filled", "twice", "derived")
    assert server.rows(target, "select count(*) from nothing") == [(1,)]
    assert server.rows(target, "select * from empty") == []
    for query in (
        "select indexdef from pg_indexes where schemaname in ('public', 'stock') order by 1",
        "select conname, pg_get_constraintdef(oid) from pg_constraint where contype <> 'n' and connamespace in "
        "('public'::regnamespace, 'stock'::regnamespace) order by 1, 2",
        "select viewname, definition from pg_views where schemaname = 'public'",
        "select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
        "select obj_description('customers'::regclass)",
        "select shout('a')",
        "select sequencename, last_value from pg_sequences order by 1",
    ):
        assert server.rows(source, query) == server.rows(target, query), query
    server.run(target, "insert into customers (name) values ('next')")
    assert server.rows(target, "select max(id) from customers") == [(4503,)]


def test_chunks_are_units_and_their_rows_are_in_the_ledger(moving: Moving, server: Server) -> None:
    source, target = server.make(SHOP + "; analyze"), server.make()
    with moving.working():
        task = moving.begun(source, target)
        moving.ended(task)
    units = [unit for unit in moving.units(task) if unit.phase == 2]
    rows: dict[str, int] = {}
    for unit in units:
        rows[unit.ledger["table"]] = rows.get(unit.ledger["table"], 0) + unit.ledger["rows"]
    assert rows == {
        "public.customers": 4502, "stock.items": 2500, "public.orders": 1200, "public.log": 3000, "public.empty": 0,
        "public.nothing": 1, "public.derived": 1, "public.named": 1,
    }  # fmt: skip
    chunks = [unit.label for unit in units if unit.spec["table"] == "customers"]
    assert chunks == [f"public.customers {n} of 5" for n in range(1, 6)]
    assert len([unit for unit in units if unit.spec["table"] == "log"]) == 1, "without a key: in one piece"


def test_only_chosen_tables_are_moved(moving: Moving, server: Server) -> None:
    source, target = server.make(SHOP), server.make()
    with moving.working():
        task = moving.begun(source, target, [Chosen("public", "log"), Chosen("public", "empty")])
        assert moving.ended(task).state is JobState.SUCCEEDED
    same(server, source, target, "log")
    query = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    there = server.rows(target, query)
    assert sorted(name for (name,) in there) == ["empty", "log"]


def test_chosen_tables_bring_the_types_that_they_need_and_find_those_that_are_there(
    moving: Moving, server: Server
) -> None:
    source, target = server.make(SHOP), server.make()
    with moving.working():
        for chosen in ([Chosen("public", "customers")], [Chosen("stock", "")]):
            job = moving.ended(moving.begun(source, target, chosen))
            assert job.state is JobState.SUCCEEDED, job.failure
    same(server, source, target, "customers", "stock.items")


def test_what_was_moved_is_verified_against_both_databases(moving: Moving, server: Server) -> None:
    source, target = server.make(SHOP), server.make()
    with moving.working():
        task = moving.begun(source, target)
        job = moving.ended(task)
    kinds = {kind.name: kind for kind in moving.kinds()}
    assert verify(moving.db, kinds, moving.tenant_id, job.id).ok
    server.run(target, "update stock.items set price = price + 1 where version = 7")
    found = verify(moving.db, kinds, moving.tenant_id, job.id)
    assert not found.ok
    assert [check.name for check in found.checks if not check.ok] == ["stock.items is the same"]
