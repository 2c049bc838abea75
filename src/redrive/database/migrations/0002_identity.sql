-- Accounts, tenants, users, key pairs, tokens. What they mean: redrive/identity/__init__.py.

create table accounts (
    id               text primary key check (id ~ '^[0-9a-f]{32}$'),
    name             text not null unique,
    created_at       timestamptz not null default now()
);

-- A tenant is a project in one vendor's words and an organization in another's; every row of ours names it.
create table tenants (
    id               bigint primary key,
    account_id       text not null references accounts (id),
    project_id       text not null unique check (project_id ~ '^[0-9a-f]{32}$'),
    project_name     text not null,
    org_id           text not null unique check (org_id ~ '^o[0-9]+$'),
    workspace_id     text not null unique check (workspace_id ~ '^[0-9a-f]{32}$'),
    created_at       timestamptz not null default now(),
    constraint tenant_project_name unique (account_id, project_name)
);

create table users (
    id               text primary key check (id ~ '^[0-9a-f]{32}$'),
    account_id       text not null references accounts (id),
    name             text not null,
    password_hash    text not null,
    password_set_at  timestamptz not null default now(),
    created_at       timestamptz not null default now(),
    constraint user_name unique (account_id, name)
);

-- The secret is sealed, not hashed: signatures can be checked only with the secret itself.
create table key_pairs (
    id               bigint primary key,
    tenant_id        bigint not null references tenants (id),
    user_id          text not null references users (id),
    name             text not null,
    access_key       text not null unique check (access_key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'),
    secret           bytea not null,
    role             text not null check (role in ('admin', 'member')),
    -- made by the first start or by `identity rotate`: what credentials.json holds
    first            boolean not null default false,
    created_at       timestamptz not null default now(),
    revoked_at       timestamptz
);
create index key_pairs_of_tenant on key_pairs (tenant_id, id);

create table key_permissions (
    key_id           bigint not null references key_pairs (id) on delete cascade,
    action           text not null check (action in ('asset:read', 'asset:write')),
    all_assets       boolean not null,
    asset_ids        text[] not null default '{}',
    asset_prefixes   text[] not null default '{}',
    primary key (key_id, action),
    constraint permission_scope check (all_assets = (asset_ids = '{}' and asset_prefixes = '{}'))
);

-- Only hashes: a token is derived from its key's secret and the nonce, so it can be told again but not read.
create table access_tokens (
    hash             bytea primary key check (length(hash) = 32),
    key_id           bigint not null references key_pairs (id) on delete cascade,
    nonce            bytea not null,
    issued_at        timestamptz not null default now(),
    expires_at       timestamptz not null
);
create index access_tokens_of_key on access_tokens (key_id, expires_at desc);
create index access_tokens_expiring on access_tokens (expires_at);

-- Proofs that count once. Kept until the clock rule refuses them anyway.
create table used_proofs (
    hash             bytea primary key check (length(hash) = 32),
    expires_at       timestamptz not null
);
create index used_proofs_expiring on used_proofs (expires_at);

-- Key pairs of the server itself. The private half is sealed.
create table server_keys (
    name             text primary key,
    private_key      bytea not null,
    public_key       bytea not null,
    created_at       timestamptz not null default now()
);

-- A known text under the master key: a key that does not open it belongs to another database.
create table master_key_canary (
    name             text primary key check (name = 'canary'),
    sealed           bytea not null
);

-- Answers to requests that carried an Idempotency-Key, committed together with what the request did.
create table idempotency_keys (
    tenant_id        bigint not null,
    key              text not null,
    request_hash     bytea not null,
    status           integer,
    body             bytea,
    created_at       timestamptz not null default now(),
    primary key (tenant_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);
