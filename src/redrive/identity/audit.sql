-- name: insert_audit
insert into audit (account_id, tenant_id, actor, user_id, access_key, surface, address, request_id, action, resource,
                   outcome, reason, detail, times)
values (%(account_id)s, %(tenant_id)s, %(actor)s, %(user_id)s, %(access_key)s, %(surface)s, %(address)s,
        %(request_id)s, %(action)s, %(resource)s, %(outcome)s, %(reason)s, %(detail)s, %(times)s)

-- name: list_audit
-- Newest first. What nobody known did (no account) is shown where asked for.
select id, at, account_id, tenant_id, actor, user_id, access_key, surface, address, request_id, action, resource,
       outcome, reason, detail, times
from audit
where (account_id = %(account_id)s or (%(strangers)s and account_id is null))
  and id < %(before)s
  and (%(outcome)s::text is null or outcome = %(outcome)s)
  and (%(actor)s::text is null or actor = %(actor)s)
  and (%(action)s::text is null or action like %(action)s)
  and (%(since)s::timestamptz is null or at >= %(since)s)
order by id desc limit %(limit)s
