-- name: units_counted
-- What the units say, beside what the job's own row says.
select count(*) as total, count(*) filter (where state = 'done') as done,
       count(*) filter (where state = 'failed') as failed, count(*) filter (where state = 'skipped') as skipped,
       count(*) filter (where state in ('running', 'unknown')) as live,
       count(*) filter (where state = 'done' and ledger is null) as without_ledger
from units where job_id = %(job_id)s;

-- name: ledger_totals
-- The sum of every number that stands under one name in the ledgers of done units.
select e.key as name, sum((e.value #>> '{}')::numeric) as total
from units u
cross join lateral jsonb_each(u.ledger) as e (key, value)
where u.job_id = %(job_id)s and u.state = 'done' and jsonb_typeof(u.ledger) = 'object'
  and jsonb_typeof(e.value) = 'number'
group by e.key order by e.key;

-- name: gaps_in_attempts
-- Attempts that do not follow the one before: a number is missing, or that one has not ended. There are none.
select count(*) filter (where number <> place or ended_at is null and number < last) as gaps
from (select number, ended_at, row_number() over (order by number) as place, max(number) over () as last
      from attempts where job_id = %(job_id)s) as a;
