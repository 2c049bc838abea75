-- name: kept_points
-- Points of models with a retention: the point's own goes before the model's.
select m.id as model_id, m.retention_days as model_days,
       coalesce(jsonb_object_agg(p.id, coalesce(p.retention_days, m.retention_days)) filter (where p.id is not null),
                '{}') as point_days
from timeseries_models m
left join timeseries_points p on p.tenant_id = m.tenant_id and p.model_id = m.id
where m.tenant_id = %(tenant_id)s
group by m.id, m.retention_days
having m.retention_days is not null or bool_or(p.retention_days is not null);

-- name: assets_of_model
select id from timeseries_assets where tenant_id = %(tenant_id)s and model_id = %(model_id)s order by id;
