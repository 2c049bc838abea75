-- name: open
-- The unit's samples get a place; a deletion that comes later waits for them.
insert into timeseries_open_imports (unit_id, tenant_id, seq, stored_ms)
values (%(unit_id)s, %(tenant_id)s, %(seq)s, %(stored_ms)s);

-- name: find
select seq, stored_ms, found, skipped from timeseries_open_imports where unit_id = %(unit_id)s;

-- name: tell
-- What the unit's commit is about to store.
update timeseries_open_imports set found = %(found)b, skipped = %(skipped)s where unit_id = %(unit_id)s;

-- name: close
delete from timeseries_open_imports where unit_id = %(unit_id)s;

-- name: job
select spec, state from jobs where id = %(job_id)s;

-- name: done_units
select id, label, ledger from units where job_id = %(job_id)s and phase = %(phase)s and state = 'done' order by id;
