-- name: plan_write
-- Record files of a change before any of them is touched; again for further files of the same change.
INSERT INTO timeseries_writes AS w (id, org_id, kind, app_id, claim, seq_min, outputs, inputs)
VALUES (%(id)s, %(org_id)s, %(kind)s, %(app_id)s, %(claim)s, %(seq_min)s, %(outputs)s, %(inputs)s)
ON CONFLICT (id) DO UPDATE
SET outputs = w.outputs || excluded.outputs,
    inputs = w.inputs || excluded.inputs,
    seq_min = least(w.seq_min, excluded.seq_min),
    touched_at = clock_timestamp()

-- name: touch_write
-- The change goes on.
UPDATE timeseries_writes SET touched_at = clock_timestamp() WHERE id = %(id)s

-- name: close_write
-- The change is over, its files are settled.
DELETE FROM timeseries_writes WHERE id = %(id)s

-- name: writes
-- The changes of a table that are not over, oldest first.
SELECT id, kind, app_id, claim, seq_min, outputs, inputs,
       extract(epoch FROM clock_timestamp() - touched_at)::float8 AS age_seconds
FROM timeseries_writes
WHERE org_id = %(org_id)s
ORDER BY id

-- name: write
-- One change, with all that was planned for it.
SELECT id, kind, app_id, claim, seq_min, outputs, inputs,
       extract(epoch FROM clock_timestamp() - touched_at)::float8 AS age_seconds
FROM timeseries_writes
WHERE org_id = %(org_id)s AND id = %(id)s

-- name: lapsed_writes
-- What earlier claims of an application id left open.
SELECT id, kind, app_id, claim, seq_min, outputs, inputs,
       extract(epoch FROM clock_timestamp() - touched_at)::float8 AS age_seconds
FROM timeseries_writes
WHERE org_id = %(org_id)s AND app_id = %(app_id)s AND claim < %(claim)s
ORDER BY id

-- name: put_ledger
-- Say what a commit is about to do; the last word before the commit counts.
INSERT INTO timeseries_effects (org_id, app_id, number, ledger)
VALUES (%(org_id)s, %(app_id)s, %(number)s, %(ledger)s)
ON CONFLICT (org_id, app_id, number) DO UPDATE SET ledger = excluded.ledger, created_at = clock_timestamp()

-- name: ledger
-- What the commit of that number did.
SELECT ledger FROM timeseries_effects
WHERE org_id = %(org_id)s AND app_id = %(app_id)s AND number = %(number)s

-- name: forget_ledgers
-- Drop what is older than the log remembers.
DELETE FROM timeseries_effects WHERE org_id = %(org_id)s AND created_at < now() - make_interval(secs => %(seconds)s)
