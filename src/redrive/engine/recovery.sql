-- name: count_retryable
select count(*) as n from jobs j
where j.tenant_id = %(tenant_id)s and j.state = any(%(states)s::text[]) and j.state in ('failed', 'cancelled')
  and j.superseded_by is null
  and (%(kinds)s::text[] is null or j.kind = any(%(kinds)s::text[]))
  and (%(subject)s::text is null or j.subject = %(subject)s)
  and (%(fingerprint)s::text is null or j.fingerprint = %(fingerprint)s)
  and (%(created_from)s::timestamptz is null or j.created_at >= %(created_from)s)
  and (%(created_to)s::timestamptz is null or j.created_at < %(created_to)s)
  and (%(ids)s::bigint[] is null or j.id = any(%(ids)s::bigint[]));

-- name: retry
-- New attempts of failed or cancelled jobs: done units are kept, failed ones wait again. One statement,
-- whatever the number; the update of the job is the lock, so of two at once one finds nothing left to do.
-- A job that began another attempt since this statement did is left out even where that one failed, too: its
-- units are seen as they were, and its new failure is not the one that was meant.
with meant as (
    select j.id, j.attempt from jobs j
    where j.tenant_id = %(tenant_id)s and j.state = any(%(states)s::text[])
      and j.state in ('failed', 'cancelled') and j.superseded_by is null
      and (%(kinds)s::text[] is null or j.kind = any(%(kinds)s::text[]))
      and (%(subject)s::text is null or j.subject = %(subject)s)
      and (%(fingerprint)s::text is null or j.fingerprint = %(fingerprint)s)
      and (%(created_from)s::timestamptz is null or j.created_at >= %(created_from)s)
      and (%(created_to)s::timestamptz is null or j.created_at < %(created_to)s)
      and (%(ids)s::bigint[] is null or j.id = any(%(ids)s::bigint[]))
), again as (
    update jobs j
    set state = 'queued', attempt = j.attempt + 1, open_units = j.open_units + j.failed_units, failed_units = 0,
        attempt_done = 0, attempt_redone = 0, failure = null, fingerprint = null, wanted = null,
        held = j.capped, run_at = coalesce(%(run_at)s::timestamptz, now()), started_at = null, ended_at = null
    from meant m
    where j.id = m.id and j.attempt = m.attempt and j.state in ('failed', 'cancelled') and j.superseded_by is null
    returning j.id, j.attempt, j.phase, j.lanes, j.capped
), ranked as (
    select u.id, a.capped, a.lanes, row_number() over (partition by u.job_id order by u.id) as place
    from again a join units u on u.job_id = a.id and u.phase = a.phase
    where u.state in ('failed', 'waiting')
), reset as (
    update units u
    set state = 'waiting', tries = 0, ended_at = null,
        ready_at = case when r.place <= r.lanes and not r.capped then coalesce(%(run_at)s::timestamptz, now()) end
    from ranked r where u.id = r.id and (u.state = 'failed' or r.place <= r.lanes)
), tried as (
    insert into attempts (job_id, number, cause, actor, reason)
    select id, attempt, 'retry', %(actor)s, %(reason)s from again
), logged as (
    insert into events (job_id, attempt, name, actor, data)
    select id, attempt, 'retried', %(actor)s, jsonb_build_object('reason', %(reason)s::text) from again
)
select count(*) as retried, coalesce(bool_or(capped), false) as capped,
       case when %(ids)s::bigint[] is not null then array_agg(id) end as ids
from again;

-- name: just_retried
-- The jobs of some kinds to which this transaction gave a new attempt.
select j.id from jobs j join attempts a on a.job_id = j.id and a.number = j.attempt
where j.tenant_id = %(tenant_id)s and j.kind = any(%(kinds)s::text[]) and j.state = 'queued'
  and a.cause = 'retry' and a.created_at = now();

-- name: redo
-- Done units of a job that was just retried wait again, what they had done in their cursor. The job goes back to
-- the earliest of their phases; what had been let out of a later one is parked.
with back as (
    update units u
    set state = 'waiting', ready_at = null, tries = 0, ended_at = null,
        cursor = jsonb_build_object('former', u.ledger)
    where u.job_id = %(job_id)s and u.id = any(%(unit_ids)s::bigint[]) and u.state = 'done'
    returning u.id, u.phase
), first as (
    select count(*) as n, min(phase) as phase from back having count(*) > 0
), parked as (
    update units u set ready_at = null from first f, jobs j
    where j.id = %(job_id)s and u.job_id = j.id and u.state = 'waiting' and f.phase < j.phase
      and u.phase = j.phase and u.id <> all(%(unit_ids)s::bigint[])
), moved as (
    update jobs j
    set done_units = j.done_units - f.n, phase = least(j.phase, f.phase),
        open_units = case when f.phase < j.phase then (select count(*) from back b where b.phase = f.phase)
                          else j.open_units + (select count(*) from back b where b.phase = j.phase) end
    from first f where j.id = %(job_id)s and j.state = 'queued'
    returning j.id, j.attempt
)
insert into events (job_id, attempt, name, actor, data)
select m.id, m.attempt, 'units_redone', %(actor)s, jsonb_build_object('units', (select count(*) from back))
from moved m
returning job_id;

-- name: states_of
select id, state, wanted, superseded_by from jobs where tenant_id = %(tenant_id)s and id = any(%(ids)s::bigint[]);

-- name: want
-- Pause or cancel: the flag first. Ready units are parked, but not those that are being claimed right now:
-- their claimant sees the flag.
with chosen as (
    update jobs j set wanted = %(wanted)s
    where j.id in (select id from jobs where tenant_id = %(tenant_id)s and id = any(%(ids)s::bigint[])
                   and state in ('queued', 'running') order by id for update)
      and (j.wanted is null or %(wanted)s = 'cancel')
    returning j.id, j.attempt
), free as (
    select u.id from units u join chosen c on c.id = u.job_id
    where u.state = 'waiting' and u.ready_at is not null for update of u skip locked
), parked as (
    update units u set ready_at = null from free f where u.id = f.id
), logged as (
    insert into events (job_id, attempt, name, actor, data)
    select id, attempt, %(wanted)s || '_requested', %(actor)s, jsonb_build_object('reason', %(reason)s::text)
    from chosen
)
select id, pg_notify('redrive_wanted', id::text) from chosen;

-- name: cancel_paused
with cancelled as (
    update jobs set state = 'cancelled', ended_at = clock_timestamp()
    where tenant_id = %(tenant_id)s and id = any(%(ids)s::bigint[]) and state = 'paused'
    returning *
), ended as (
    update attempts a
    set started_at = c.started_at, ended_at = c.ended_at, outcome = 'cancelled', units_done = c.attempt_done,
        units_redone = c.attempt_redone, units_failed = c.failed_units
    from cancelled c where a.job_id = c.id and a.number = c.attempt
), logged as (
    insert into events (job_id, attempt, name, actor, data)
    select id, attempt, 'cancelled', %(actor)s, jsonb_build_object('reason', %(reason)s::text) from cancelled
)
select id from cancelled;

-- name: resume
with resumed as (
    update jobs set state = 'queued', held = capped
    where tenant_id = %(tenant_id)s and id = any(%(ids)s::bigint[]) and state = 'paused'
    returning id, attempt, lanes, capped
), logged as (
    insert into events (job_id, attempt, name, actor, data)
    select id, attempt, 'resumed', %(actor)s, jsonb_build_object('reason', %(reason)s::text) from resumed
)
select id, lanes, capped from resumed;

-- name: subject_cap
select subject_cap from jobs where id = %(job_id)s;

-- name: units_as_submitted
select spec, phase, label from units where job_id = %(job_id)s and not planned order by phase, id;

-- name: supersede
-- Jobs that another one has taken the place of.
update jobs set superseded_by = %(by)s
where tenant_id = %(tenant_id)s and id = any(%(ids)s::bigint[]) and superseded_by is null;
