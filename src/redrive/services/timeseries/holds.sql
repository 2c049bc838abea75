-- name: insert_hold
insert into timeseries_holds (id, tenant_id, name, reason, box, actor)
values (%(id)s, %(tenant_id)s, %(name)s, %(reason)s, %(box)s::jsonb, %(actor)s)
on conflict (tenant_id, name) where lifted_at is null do nothing
returning id;

-- name: live_holds
select * from timeseries_holds where tenant_id = %(tenant_id)s and lifted_at is null order by id;

-- name: all_holds
select * from timeseries_holds where tenant_id = %(tenant_id)s order by id desc limit %(limit)s;

-- name: live_hold
select * from timeseries_holds where tenant_id = %(tenant_id)s and name = %(name)s and lifted_at is null;

-- name: lift_hold
update timeseries_holds set lifted_at = now(), lifted_by = %(actor)s
where tenant_id = %(tenant_id)s and name = %(name)s and lifted_at is null
returning *;

-- name: erasing_units
-- Units that may be between their check of the holds and their commit.
select u.id, u.kind, u.spec from units u
where u.tenant_id = %(tenant_id)s and u.kind = any(%(kinds)s::text[]) and u.state in ('running', 'unknown')
  and (%(ids)s::bigint[] is null or u.id = any(%(ids)s::bigint[]));
