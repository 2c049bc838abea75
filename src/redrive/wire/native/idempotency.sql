-- name: sweep
delete from idempotency_keys where ctid = any (array(
    select ctid from idempotency_keys where created_at < now() - interval '1 day' limit 100 for update skip locked
))

-- name: claim
-- No row: the key is taken. Waits for a transaction that is about to take it (up to lock_timeout).
insert into idempotency_keys (tenant_id, key, request_hash)
values (%(tenant_id)s, %(key)s, %(request_hash)s)
on conflict do nothing
returning 1 as claimed

-- name: find
select request_hash, status, body from idempotency_keys where tenant_id = %(tenant_id)s and key = %(key)s

-- name: keep
update idempotency_keys set status = %(status)s, body = %(body)s
where tenant_id = %(tenant_id)s and key = %(key)s
