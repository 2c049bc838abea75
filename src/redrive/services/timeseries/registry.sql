-- name: put_model
insert into timeseries_models (tenant_id, id, name, retention_days)
values (%(tenant_id)s, %(id)s, %(name)s, %(retention_days)s)
on conflict (tenant_id, id) do update
set name = excluded.name, retention_days = excluded.retention_days, changed_at = now()
returning xmax = 0 as created;

-- name: drop_other_points
delete from timeseries_points
where tenant_id = %(tenant_id)s and model_id = %(model_id)s and id <> all (%(ids)s::text[]);

-- name: put_points
insert into timeseries_points (tenant_id, model_id, id, value_type, storage_types, retention_days)
select %(tenant_id)s, %(model_id)s, t.id, t.value_type, string_to_array(t.storage_types, ','), t.retention_days
from unnest(%(ids)s::text[], %(value_types)s::text[], %(storage_types)s::text[], %(retention_days)s::int[])
     as t (id, value_type, storage_types, retention_days)
on conflict (tenant_id, model_id, id) do update
set value_type = excluded.value_type, storage_types = excluded.storage_types,
    retention_days = excluded.retention_days;

-- name: models_by_ids
select id, name, retention_days from timeseries_models
where tenant_id = %(tenant_id)s and id = any (%(ids)s::text[]) order by id;

-- name: models_page
select id, name, retention_days from timeseries_models
where tenant_id = %(tenant_id)s and id > %(after)s order by id limit %(limit)s;

-- name: points_of_models
select model_id, id, value_type, storage_types, retention_days from timeseries_points
where tenant_id = %(tenant_id)s and model_id = any (%(ids)s::text[]) order by model_id, id;

-- name: lock_model
select id from timeseries_models where tenant_id = %(tenant_id)s and id = %(id)s for update;

-- name: asset_of_model
select id from timeseries_assets where tenant_id = %(tenant_id)s and model_id = %(id)s order by id limit 1;

-- name: delete_model
delete from timeseries_models where tenant_id = %(tenant_id)s and id = %(id)s;

-- name: delete_point
delete from timeseries_points where tenant_id = %(tenant_id)s and model_id = %(model_id)s and id = %(id)s
returning id;

-- name: put_assets
insert into timeseries_assets (tenant_id, id, name, model_id, model_path, time_zone, product_key, device_key)
select %(tenant_id)s, t.*
from unnest(%(ids)s::text[], %(names)s::text[], %(model_ids)s::text[], %(model_paths)s::text[],
            %(time_zones)s::text[], %(product_keys)s::text[], %(device_keys)s::text[]) as t
on conflict (tenant_id, id) do update
set name = excluded.name, model_id = excluded.model_id, model_path = excluded.model_path,
    time_zone = excluded.time_zone, product_key = excluded.product_key, device_key = excluded.device_key
returning id, xmax = 0 as created;

-- name: add_seen_assets
insert into timeseries_assets (tenant_id, id)
select %(tenant_id)s, id from unnest(%(ids)s::text[]) as t (id) order by id
on conflict do nothing;

-- name: assets_by_ids
select id, name, model_id, model_path, time_zone, product_key, device_key from timeseries_assets
where tenant_id = %(tenant_id)s and id = any (%(ids)s::text[]) order by id;

-- name: assets_page
-- In order of id, behind one; of one model, and within a scope, where these are given.
select id, name, model_id, model_path, time_zone, product_key, device_key from timeseries_assets a
where tenant_id = %(tenant_id)s and id > %(after)s
  and (%(model_id)s::text is null or model_id = %(model_id)s)
  and name_in_scope(id, %(layers)s::int[], %(allowed)s::text[], %(allowed_in)s::int[], %(denied)s::text[])
order by id limit %(limit)s;

-- name: devices
select t.product_key, t.device_key, a.id
from unnest(%(product_keys)s::text[], %(device_keys)s::text[]) as t (product_key, device_key)
join timeseries_assets a on a.tenant_id = %(tenant_id)s and a.product_key = t.product_key
                        and a.device_key = t.device_key;

-- name: delete_asset
delete from timeseries_assets where tenant_id = %(tenant_id)s and id = %(id)s returning id;
