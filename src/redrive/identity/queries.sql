-- name: insert_account
insert into accounts (id, name) values (%(id)s, %(name)s)

-- name: insert_tenant
insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
values (%(id)s, %(account_id)s, %(project_id)s, %(project_name)s, %(org_id)s, %(workspace_id)s)

-- name: insert_user
insert into users (id, account_id, name, password_hash)
values (%(id)s, %(account_id)s, %(name)s, %(password_hash)s)

-- name: set_password
update users set password_hash = %(password_hash)s, password_set_at = now() where id = %(id)s

-- name: find_user
select u.id, u.account_id, u.name, u.password_hash
from users u join accounts a on a.id = u.account_id
where a.name = %(domain)s and u.name = %(name)s

-- name: first_tenant
-- The tenant of the first start, with the user and the account that credentials.json names.
select t.id, t.account_id, t.project_id, t.project_name, t.org_id, t.workspace_id,
       a.name as domain_name, u.id as user_id, u.name as user_name
from tenants t
join accounts a on a.id = t.account_id
join key_pairs k on k.tenant_id = t.id and k.first
join users u on u.id = k.user_id
order by k.id
limit 1

-- name: find_tenant
select t.id, t.account_id, t.project_id, t.project_name, t.org_id, t.workspace_id
from tenants t
where t.id::text = %(name)s or t.project_id = %(name)s or t.org_id = %(name)s or t.project_name = %(name)s
order by t.id
limit 2

-- name: insert_key
insert into key_pairs (id, tenant_id, user_id, name, access_key, secret, role, first)
values (%(id)s, %(tenant_id)s, %(user_id)s, %(name)s, %(access_key)s, %(secret)s, %(role)s, %(first)s)

-- name: insert_permission
insert into key_permissions (key_id, action, all_assets, asset_ids, asset_prefixes)
values (%(key_id)s, %(action)s, %(all_assets)s, %(asset_ids)s, %(asset_prefixes)s)

-- name: list_keys
-- Every key pair of a tenant, oldest first, revoked ones too; never the secrets.
select k.id, k.name, k.access_key, k.role, k.first, k.created_at, k.revoked_at, u.name as user_name, p.permissions
from key_pairs k
join users u on u.id = k.user_id
cross join lateral (
    select coalesce(jsonb_agg(jsonb_build_array(action, all_assets, asset_ids, asset_prefixes) order by action), '[]')
           as permissions
    from key_permissions where key_id = k.id
) p
where k.tenant_id = %(tenant_id)s
order by k.id

-- name: revoke_key
-- Tokens of the key go with it.
with revoked as (
    update key_pairs set revoked_at = now()
    where access_key = %(access_key)s and tenant_id = %(tenant_id)s and revoked_at is null
    returning id
), gone as (
    delete from access_tokens t using revoked r where t.key_id = r.id
)
select id from revoked

-- name: revoke_first_keys
with revoked as (
    update key_pairs set revoked_at = now()
    where tenant_id = %(tenant_id)s and first and revoked_at is null and id <> %(except_id)s
    returning id
), gone as (
    delete from access_tokens t using revoked r where t.key_id = r.id
)
select id from revoked

-- name: credential_by_key
-- One live key pair with its tenant, its user and its permissions.
select k.id as key_id, k.access_key, k.secret, k.name as key_name, k.role,
       t.id as tenant_id, t.account_id, t.project_id, t.org_id, k.user_id, p.permissions
from key_pairs k
join tenants t on t.id = k.tenant_id
cross join lateral (
    select coalesce(jsonb_agg(jsonb_build_array(action, all_assets, asset_ids, asset_prefixes)), '[]') as permissions
    from key_permissions where key_id = k.id
) p
where k.access_key = %(access_key)s and k.revoked_at is null

-- name: credential_by_token
-- The same for the owner of an access token, and when the token ends.
select k.id as key_id, k.access_key, k.secret, k.name as key_name, k.role,
       t.id as tenant_id, t.account_id, t.project_id, t.org_id, k.user_id, p.permissions,
       a.expires_at
from access_tokens a
join key_pairs k on k.id = a.key_id
join tenants t on t.id = k.tenant_id
cross join lateral (
    select coalesce(jsonb_agg(jsonb_build_array(action, all_assets, asset_ids, asset_prefixes)), '[]') as permissions
    from key_permissions where key_id = k.id
) p
where a.hash = %(hash)s and k.revoked_at is null

-- name: lock_live_key
-- One at a time per key pair: two first calls get the same token.
select id from key_pairs where id = %(key_id)s and revoked_at is null for update

-- name: newest_live_token
select nonce, expires_at from access_tokens
where key_id = %(key_id)s and expires_at > %(still_at)s
order by expires_at desc
limit 1

-- name: count_live_tokens
select count(*) as live from access_tokens where key_id = %(key_id)s and expires_at > %(still_at)s

-- name: find_token_of_key
select expires_at from access_tokens where hash = %(hash)s and key_id = %(key_id)s

-- name: insert_token
-- Tokens that ended a day ago go on the way: until then a caller is told that its token has expired.
with old as (
    select hash from access_tokens where expires_at < %(issued_at)s - interval '1 day'
    limit 100 for update skip locked
), swept as (
    delete from access_tokens t using old where t.hash = old.hash
)
insert into access_tokens (hash, key_id, nonce, issued_at, expires_at)
values (%(hash)s, %(key_id)s, %(nonce)s, %(issued_at)s, %(expires_at)s)

-- name: use_proof
-- No row: the proof was used before. Proofs that the clock rule refuses anyway go on the way.
with old as (
    select hash from used_proofs where expires_at < %(present)s limit 100 for update skip locked
), swept as (
    delete from used_proofs p using old where p.hash = old.hash
)
insert into used_proofs (hash, expires_at) values (%(hash)s, %(expires_at)s)
on conflict do nothing
returning 1 as used

-- name: find_server_key
select private_key, public_key from server_keys where name = %(name)s

-- name: insert_server_key
insert into server_keys (name, private_key, public_key) values (%(name)s, %(private_key)s, %(public_key)s)
