-- name: insert_account
insert into accounts (id, name) values (%(id)s, %(name)s)

-- name: insert_tenant
insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
values (%(id)s, %(account_id)s, %(project_id)s, %(project_name)s, %(org_id)s, %(workspace_id)s)

-- name: insert_user
insert into users (id, account_id, name, password_hash, description, root)
values (%(id)s, %(account_id)s, %(name)s, %(password_hash)s, %(description)s, %(root)s)

-- name: set_password
-- Tokens got with the former password go with it, and the temporary key pairs that were got with such tokens.
with gone as (
    delete from user_tokens where user_id = %(id)s
), ended as (
    update key_pairs set revoked_at = now()
    where user_id = %(id)s and expires_at is not null and made_by is null and revoked_at is null
)
update users set password_hash = %(password_hash)s, password_set_at = now() where id = %(id)s

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
insert into key_pairs (id, tenant_id, user_id, name, access_key, secret, layers, first, expires_at, token_hash,
                       made_by)
values (%(id)s, %(tenant_id)s, %(user_id)s, %(name)s, %(access_key)s, %(secret)s, %(layers)s, %(first)s,
        %(expires_at)s, %(token_hash)s, %(made_by)s)

-- name: drop_expired_keys
-- Temporary key pairs that ended a day ago.
with old as (
    select id from key_pairs where expires_at < now() - interval '1 day' limit 100 for update skip locked
)
delete from key_pairs k using old where k.id = old.id

-- name: list_keys
-- Every key pair of a tenant, oldest first, revoked ones too, temporary ones not; never the secrets.
select k.id, k.name, k.access_key, k.layers, k.first, u.name as user_name, u.id as user_id, k.created_at,
       k.revoked_at
from key_pairs k join users u on u.id = k.user_id
where k.tenant_id = %(tenant_id)s and k.expires_at is null
  and (%(access_key)s::text is null or k.access_key = %(access_key)s)
  and (%(user_id)s::text is null or k.user_id = %(user_id)s)
order by k.id

-- name: lock_key
-- One at a time: a key pair that is rotated twice at once gets one successor.
select id from key_pairs where id = %(id)s and revoked_at is null for update

-- name: key_expires
select expires_at from key_pairs where id = %(id)s

-- name: revoke_key
-- Tokens of the key, and the temporary key pairs that it made, go with it.
with revoked as (
    update key_pairs set revoked_at = now()
    where access_key = %(access_key)s and tenant_id = %(tenant_id)s and revoked_at is null
    returning id
), gone as (
    delete from access_tokens t using revoked r where t.key_id = r.id
), ended as (
    update key_pairs k set revoked_at = now() from revoked r where k.made_by = r.id and k.revoked_at is null
)
select id from revoked

-- name: revoke_first_keys
with revoked as (
    update key_pairs set revoked_at = now()
    where tenant_id = %(tenant_id)s and first and revoked_at is null and id <> %(except_id)s
    returning id, access_key
), gone as (
    delete from access_tokens t using revoked r where t.key_id = r.id
), ended as (
    update key_pairs k set revoked_at = now() from revoked r where k.made_by = r.id and k.revoked_at is null
)
select id, access_key from revoked

-- name: credential_by_key
-- One live key pair with its tenant, its user and what is attached to that.
select k.id as key_id, k.access_key, k.secret, k.name as actor, k.layers, k.expires_at as key_expires_at,
       k.token_hash,
       t.id as tenant_id, t.project_id, t.project_name, t.org_id, t.workspace_id, t.open, t.allowed_from,
       (select w.endpoints from workspaces w where w.tenant_id = t.id) as endpoints,
       u.account_id, c.name as account_name,
       u.id as user_id, u.name as user_name, u.root,
       r.policies
from key_pairs k
join tenants t on t.id = k.tenant_id
join users u on u.id = k.user_id and u.enabled
join accounts c on c.id = u.account_id
cross join lateral (
    select coalesce(jsonb_agg(distinct jsonb_build_array(coalesce(p.name, a.builtin), p.document)), '[]') as policies
    from policy_attachments a left join policies p on p.id = a.policy_id
    where (a.user_id = u.id or a.group_id in (select m.group_id from group_members m where m.user_id = u.id))
      and (a.tenant_id is null or a.tenant_id = t.id)
) r
where k.access_key = %(access_key)s and k.revoked_at is null

-- name: credential_by_token
-- The same for the owner of an access token, and when the token ends.
select k.id as key_id, k.access_key, k.secret, k.name as actor, k.layers, k.expires_at as key_expires_at,
       k.token_hash,
       t.id as tenant_id, t.project_id, t.project_name, t.org_id, t.workspace_id, t.open, t.allowed_from,
       (select w.endpoints from workspaces w where w.tenant_id = t.id) as endpoints,
       u.account_id, c.name as account_name,
       u.id as user_id, u.name as user_name, u.root,
       r.policies, x.expires_at
from access_tokens x
join key_pairs k on k.id = x.key_id
join tenants t on t.id = k.tenant_id
join users u on u.id = k.user_id and u.enabled
join accounts c on c.id = u.account_id
cross join lateral (
    select coalesce(jsonb_agg(distinct jsonb_build_array(coalesce(p.name, a.builtin), p.document)), '[]') as policies
    from policy_attachments a left join policies p on p.id = a.policy_id
    where (a.user_id = u.id or a.group_id in (select m.group_id from group_members m where m.user_id = u.id))
      and (a.tenant_id is null or a.tenant_id = t.id)
) r
where x.hash = %(hash)s and k.revoked_at is null

-- name: principal_by_user_token
-- The owner of a token got with a password. No tenant: it is for the account.
select t.id as tenant_id, t.project_id, t.project_name, t.org_id, t.workspace_id, t.open, t.allowed_from,
       (select w.endpoints from workspaces w where w.tenant_id = t.id) as endpoints,
       u.account_id, c.name as account_name,
       u.id as user_id, u.name as user_name, u.root,
       r.policies, x.issued_at, x.expires_at
from user_tokens x
join users u on u.id = x.user_id and u.enabled
join accounts c on c.id = u.account_id
left join tenants t on t.id = x.tenant_id
cross join lateral (
    select coalesce(jsonb_agg(distinct jsonb_build_array(coalesce(p.name, a.builtin), p.document)), '[]') as policies
    from policy_attachments a left join policies p on p.id = a.policy_id
    where (a.user_id = u.id or a.group_id in (select m.group_id from group_members m where m.user_id = u.id))
      and (a.tenant_id is null or a.tenant_id = t.id)
) r
where x.hash = %(hash)s

-- name: rights_of_key
-- What says what a living key pair may do, for those who ask about it.
select k.id as key_id, k.access_key, k.name as actor, k.layers, t.id as tenant_id, u.id as user_id
from key_pairs k join tenants t on t.id = k.tenant_id join users u on u.id = k.user_id
where k.access_key = %(access_key)s and t.account_id = %(account_id)s and k.revoked_at is null

-- name: principal_of_user
-- A user as it stands, for a project or (without one) for its account.
select t.id as tenant_id, t.project_id, t.project_name, t.org_id, t.workspace_id, t.open, t.allowed_from,
       (select w.endpoints from workspaces w where w.tenant_id = t.id) as endpoints,
       u.account_id, c.name as account_name,
       u.id as user_id, u.name as user_name, u.root, u.enabled,
       r.policies
from users u
join accounts c on c.id = u.account_id
left join tenants t on t.id = %(tenant_id)s::bigint and t.account_id = u.account_id
cross join lateral (
    select coalesce(jsonb_agg(distinct jsonb_build_array(coalesce(p.name, a.builtin), p.document)), '[]') as policies
    from policy_attachments a left join policies p on p.id = a.policy_id
    where (a.user_id = u.id or a.group_id in (select m.group_id from group_members m where m.user_id = u.id))
      and (a.tenant_id is null or a.tenant_id = t.id)
) r
where u.id = %(user_id)s

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
