-- Rights: groups, policies and where they are attached; tokens of users; temporary keys; the audit trail.
-- What they mean: redrive/identity/__init__.py.

alter table users add column enabled boolean not null default true;
-- the account's own user: every permission, whatever is attached; made by the first start
alter table users add column root boolean not null default false;
alter table users add column description text not null default '';
update users set root = true
where id in (select distinct on (u.account_id) u.id from users u order by u.account_id, u.created_at, u.id);
create unique index users_root on users (account_id) where root;

create table groups (
    id               text primary key check (id ~ '^[0-9a-f]{32}$'),
    account_id       text not null references accounts (id),
    name             text not null,
    description      text not null default '',
    created_at       timestamptz not null default now(),
    constraint group_name unique (account_id, name)
);

create table group_members (
    group_id         text not null references groups (id) on delete cascade,
    user_id          text not null references users (id) on delete cascade,
    primary key (group_id, user_id)
);
create index group_members_by_user on group_members (user_id);

-- Policies that an account wrote; those that are always there are in the program (identity/builtin.py).
create table policies (
    id               text primary key check (id ~ '^[0-9a-f]{32}$'),
    account_id       text not null references accounts (id),
    name             text not null,
    description      text not null default '',
    document         jsonb not null,
    created_at       timestamptz not null default now(),
    changed_at       timestamptz not null default now(),
    constraint policy_name unique (account_id, name)
);

create table policy_attachments (
    id               bigint generated always as identity primary key,
    user_id          text references users (id) on delete cascade,
    group_id         text references groups (id) on delete cascade,
    policy_id        text references policies (id),
    builtin          text,
    -- null: in every project of the account, and for the account itself
    tenant_id        bigint references tenants (id),
    created_at       timestamptz not null default now(),
    constraint attached_to_one check (num_nonnulls(user_id, group_id) = 1),
    constraint attaches_one check (num_nonnulls(policy_id, builtin) = 1),
    constraint attached_once unique nulls not distinct (user_id, group_id, policy_id, builtin, tenant_id)
);
create index policy_attachments_of_user on policy_attachments (user_id) where user_id is not null;
create index policy_attachments_of_group on policy_attachments (group_id) where group_id is not null;
create index policy_attachments_of_policy on policy_attachments (policy_id) where policy_id is not null;

-- A key pair acts as its user. With a policy of its own it may do only what that allows, too.
alter table key_pairs add column policy jsonb;
-- Temporary key pairs end by themselves and are good only together with a security token.
alter table key_pairs add column expires_at timestamptz;
alter table key_pairs add column token_hash bytea check (length(token_hash) = 32);
alter table key_pairs add constraint key_temporary check ((expires_at is null) = (token_hash is null));
create index key_pairs_expiring on key_pairs (expires_at) where expires_at is not null;

-- Permissions of key pairs become policies that say the same.
update key_pairs k set policy = jsonb_build_object('Version', '5.0', 'Statement', s.statements)
from (
    select k.id, coalesce(p.statements, '[]') || coalesce(j.statements, '[]')
           || case when k.role = 'admin' then
                  '[{"Effect": "Allow", "Action": ["redrive:server:admin", "iam:*", "redrive:audit:list"]}]'::jsonb
              else '[]' end
           || case when k.role <> 'admin' and p.statements is null
                   then '[{"Effect": "Deny", "Action": ["*"]}]'::jsonb else '[]' end as statements
    from key_pairs k
    left join lateral (
        select jsonb_agg(jsonb_build_object('Effect', 'Allow', 'Action', jsonb_build_array('enos:' || p.action),
                                            'Resource', r.resources) order by p.action) as statements
        from key_permissions p
        cross join lateral (
            select jsonb_agg('enos:*:*:asset:' || n.name) as resources
            from unnest(case when p.all_assets then array['*']
                             else p.asset_ids || (select coalesce(array_agg(x || '*'), '{}')
                                                  from unnest(p.asset_prefixes) x) end) as n (name)
        ) r
        where p.key_id = k.id
    ) p on true
    left join lateral (
        select jsonb_build_array(jsonb_build_object(
                   'Effect', 'Allow',
                   'Action', case when bool_or(p.action = 'asset:write') then '["redrive:jobs:*"]'::jsonb
                                  else '["redrive:jobs:list", "redrive:jobs:get"]' end,
                   'Resource', '["redrive:*:*:job:timeseries.*"]'::jsonb)) as statements
        from key_permissions p where p.key_id = k.id and p.all_assets having count(*) > 0
    ) j on true
    where not (k.role = 'admin' and k.first)
) s
where s.id = k.id;
drop table key_permissions;
alter table key_pairs drop column role;

-- Whether a name is covered by a scope: in every layer it matches an allowed pattern (LIKE), and no denied one.
create function name_in_scope(name text, layers int[], allowed text[], allowed_in int[], denied text[])
returns boolean language sql immutable parallel safe
return not exists (
           select from unnest(layers) as l (layer)
           where not exists (select from unnest(allowed, allowed_in) as p (pattern, layer)
                             where p.layer = l.layer and name like p.pattern))
       and not name like any (denied);

-- Tokens got with a password. Only hashes; they are opaque and random.
create table user_tokens (
    hash             bytea primary key check (length(hash) = 32),
    user_id          text not null references users (id) on delete cascade,
    -- null: for the account as a whole
    tenant_id        bigint references tenants (id),
    issued_at        timestamptz not null default now(),
    expires_at       timestamptz not null
);
create index user_tokens_of_user on user_tokens (user_id);
create index user_tokens_expiring on user_tokens (expires_at);

-- Who did what, when, why, from where: refusals, and changes of rights. Nothing is ever changed in it.
create table audit (
    id               bigint generated always as identity primary key,
    at               timestamptz not null default clock_timestamp(),
    account_id       text,
    tenant_id        bigint,
    actor            text not null,
    user_id          text,
    access_key       text,
    surface          text not null,
    address          text not null default '',
    request_id       text not null default '',
    action           text not null,
    resource         text not null default '',
    outcome          text not null check (outcome in ('changed', 'refused')),
    reason           text not null default '',
    detail           jsonb not null default '{}',
    -- the same thing, so many times within a moment
    times            integer not null default 1 check (times > 0)
);
create index audit_of_account on audit (account_id, id);
create index audit_by_time on audit (at);

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit trail is append-only';
end $$;
create trigger audit_append_only before update or delete on audit
    for each row execute function audit_is_append_only();
create trigger audit_not_emptied before truncate on audit
    for each statement execute function audit_is_append_only();
