-- name: account_by
select id, name, created_at from accounts where id = %(id)s::text or name = %(name)s::text

-- name: user_for_login
-- A user by its id, or by its name in an account.
select u.id, u.account_id, u.name, u.password_hash, u.enabled
from users u join accounts a on a.id = u.account_id
where case when %(user_id)s::text is not null then u.id = %(user_id)s
           else u.name = %(name)s and (a.id = %(account_id)s::text or a.name = %(account_name)s::text) end

-- name: insert_user_token
-- Tokens that ended a day ago go on the way: until then a caller is told that its token has expired.
with old as (
    select hash from user_tokens where expires_at < %(issued_at)s - interval '1 day'
    limit 100 for update skip locked
), swept as (
    delete from user_tokens t using old where t.hash = old.hash
)
insert into user_tokens (hash, user_id, tenant_id, issued_at, expires_at)
values (%(hash)s, %(user_id)s, %(tenant_id)s, %(issued_at)s, %(expires_at)s)

-- name: count_user_tokens
select count(*) as living from user_tokens where user_id = %(user_id)s and expires_at > now()

-- name: revoke_user_token
delete from user_tokens t using users u
where t.hash = %(hash)s and u.id = t.user_id and u.account_id = %(account_id)s returning t.user_id

-- name: has_root
select exists (select from group_members m join users u on u.id = m.user_id
               where m.group_id = %(id)s and u.root) as found

-- name: insert_project
insert into tenants (id, account_id, project_id, project_name, org_id, workspace_id)
values (%(tenant_id)s, %(account_id)s, %(project_id)s, %(project_name)s, %(org_id)s, %(workspace_id)s)

-- name: projects
select id as tenant_id, project_id, project_name, org_id, account_id from tenants
where account_id = %(account_id)s
  and (%(project_id)s::text is null or project_id = %(project_id)s)
  and (%(name)s::text is null or project_name = %(name)s)
order by id

-- name: users
select u.id, u.name, u.description, u.enabled, u.root, u.created_at, u.password_set_at,
       coalesce((select array_agg(g.name order by g.name) from group_members m join groups g on g.id = m.group_id
                 where m.user_id = u.id), '{}') as groups
from users u
where u.account_id = %(account_id)s and (%(wanted)s::text is null or u.id = %(wanted)s or u.name = %(wanted)s)
  and (%(after)s::text is null or u.name > %(after)s)
order by u.name limit %(limit)s

-- name: set_user
update users set enabled = coalesce(%(enabled)s, enabled), description = coalesce(%(description)s, description)
where id = %(id)s and account_id = %(account_id)s returning id

-- name: end_tokens_of_user
-- And its temporary key pairs: they must not live again when the user is enabled again.
with ended as (
    update key_pairs set revoked_at = now() where user_id = %(id)s and expires_at is not null and revoked_at is null
)
delete from user_tokens where user_id = %(id)s

-- name: delete_user
delete from users where id = %(id)s and account_id = %(account_id)s and not root

-- name: has_keys
select exists (select from key_pairs where user_id = %(id)s) as found

-- name: groups
select g.id, g.name, g.description, g.created_at,
       coalesce((select array_agg(u.name order by u.name) from group_members m join users u on u.id = m.user_id
                 where m.group_id = g.id), '{}') as members
from groups g
where g.account_id = %(account_id)s and (%(wanted)s::text is null or g.id = %(wanted)s or g.name = %(wanted)s)
  and (%(after)s::text is null or g.name > %(after)s)
order by g.name limit %(limit)s

-- name: insert_group
insert into groups (id, account_id, name, description) values (%(id)s, %(account_id)s, %(name)s, %(description)s)

-- name: delete_group
delete from groups where id = %(id)s and account_id = %(account_id)s

-- name: insert_member
insert into group_members (group_id, user_id) values (%(group_id)s, %(user_id)s)
on conflict do nothing returning 1 as added

-- name: delete_member
delete from group_members where group_id = %(group_id)s and user_id = %(user_id)s returning 1 as removed

-- name: policies
select p.id, p.name, p.description, p.document, p.created_at, p.changed_at,
       (select count(*) from policy_attachments a where a.policy_id = p.id) as attachments
from policies p
where p.account_id = %(account_id)s and (%(wanted)s::text is null or p.id = %(wanted)s or p.name = %(wanted)s)
  and (%(after)s::text is null or p.name > %(after)s)
order by p.name limit %(limit)s

-- name: lock_policy
-- One at a time: whoever attaches a policy has seen the very document that is attached.
select id from policies
where account_id = %(account_id)s and (id = %(wanted)s or name = %(wanted)s) for update

-- name: policy_by_name
select id, document from policies where account_id = %(account_id)s and name = %(name)s

-- name: builtin_attachments
select a.builtin, count(*) as attachments
from policy_attachments a
left join users u on u.id = a.user_id
left join groups g on g.id = a.group_id
where a.builtin is not null and coalesce(u.account_id, g.account_id) = %(account_id)s
group by a.builtin

-- name: scopes_of_policy
select distinct tenant_id from policy_attachments where policy_id = %(id)s

-- name: insert_policy
insert into policies (id, account_id, name, description, document)
values (%(id)s, %(account_id)s, %(name)s, %(description)s, %(document)s)

-- name: change_policy
update policies set document = %(document)s, description = coalesce(%(description)s, description),
                    changed_at = now()
where id = %(id)s and account_id = %(account_id)s

-- name: delete_policy
delete from policies p where p.id = %(id)s and p.account_id = %(account_id)s
  and not exists (select from policy_attachments a where a.policy_id = p.id)
returning p.id

-- name: attach
insert into policy_attachments (user_id, group_id, policy_id, builtin, tenant_id)
values (%(user_id)s, %(group_id)s, %(policy_id)s, %(builtin)s, %(tenant_id)s)
on conflict do nothing returning id

-- name: detach
delete from policy_attachments
where user_id is not distinct from %(user_id)s and group_id is not distinct from %(group_id)s
  and policy_id is not distinct from %(policy_id)s and builtin is not distinct from %(builtin)s
  and tenant_id is not distinct from %(tenant_id)s
returning id

-- name: attachments_of
-- What is attached to a user (also by its groups) or to a group.
select coalesce(p.name, a.builtin) as policy, a.builtin is not null as builtin, t.project_name, g.name as group_name,
       a.tenant_id, p.document
from policy_attachments a
left join policies p on p.id = a.policy_id
left join tenants t on t.id = a.tenant_id
left join groups g on g.id = a.group_id
where a.user_id = %(user_id)s::text or a.group_id = %(group_id)s::text
   or a.group_id in (select m.group_id from group_members m where m.user_id = %(user_id)s::text)
order by policy, project_name nulls first, group_name nulls first
