-- What limits a key pair is a list of policies, each of which must allow; temporary key pairs know who made them.

alter table key_pairs rename column policy to layers;
update key_pairs set layers = jsonb_build_array(layers) where layers is not null;
alter table key_pairs add constraint key_layers check (
    case when layers is null then true
         when jsonb_typeof(layers) = 'array' then jsonb_array_length(layers) > 0
         else false end
);
-- Of a temporary key pair: the key pair that asked for it, and ends it with itself. Null: its user did, with a token.
alter table key_pairs add column made_by bigint references key_pairs (id) on delete cascade;
create index key_pairs_made_by on key_pairs (made_by) where made_by is not null;
