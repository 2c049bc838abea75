-- name: append
-- The next sequence of the tenant, and the batch under it; no row where the tenant has no head yet, or is closed.
with head as (
    update ingest_heads set head_seq = head_seq + 1 where tenant_id = %(tenant_id)s and not closed
    returning head_seq, epoch
)
insert into ingest_log (tenant_id, seq, channel, rows, bytes, memory, min_ms, max_ms, stored_ms, batch)
select %(tenant_id)s, head_seq, %(channel)s, %(rows)s, %(bytes)s, %(memory)s, %(min_ms)s, %(max_ms)s,
       (extract(epoch from clock_timestamp()) * 1000)::bigint, %(batch)s
from head
returning seq, stored_ms, (select epoch from head) as epoch;

-- name: take_seq
-- Sequences without batches; the answer is the first of them.
update ingest_heads set head_seq = head_seq + %(count)s where tenant_id = %(tenant_id)s and not closed
returning head_seq - %(count)s + 1 as seq, (extract(epoch from clock_timestamp()) * 1000)::bigint as stored_ms, epoch;

-- name: add_head
insert into ingest_heads (tenant_id) values (%(tenant_id)s) on conflict do nothing returning tenant_id;

-- name: set_closed
-- Waits for appends that are under way; every later one sees it.
update ingest_heads set closed = %(closed)s where tenant_id = %(tenant_id)s;

-- name: head
select head_seq, epoch from ingest_heads where tenant_id = %(tenant_id)s;

-- name: head_locked
select head_seq, epoch from ingest_heads where tenant_id = %(tenant_id)s for update;

-- name: move_epoch
-- Waits for appends that are under way, and every later one sees the new epoch.
update ingest_heads set epoch = epoch + 1 where tenant_id = %(tenant_id)s;

-- name: read
-- Batches behind a sequence, the first always, further ones while what they decode to stays within limits.
select seq, channel, rows, memory, min_ms, max_ms, stored_ms, batch
from (select *, sum(memory) over (order by seq) as total_memory, sum(rows) over (order by seq) as total_rows,
             row_number() over (order by seq) as place
      from (select * from ingest_log where tenant_id = %(tenant_id)s and seq > %(after_seq)s
            order by seq limit %(limit)s) as first) as l
where place = 1 or (total_memory <= %(limit_bytes)s and total_rows <= %(limit_rows)s)
order by seq;

-- name: tail
-- A reader's place, what waits behind it that the caller does not know yet (in bytes, decoded: a row's place
-- takes 16 more), and those batches themselves where they fit into the caller's room: one snapshot.
with place as materialized (
    select coalesce((select through_seq from ingest_readers
                     where tenant_id = %(tenant_id)s and reader = %(reader)s), 0) as through_seq
), waiting as materialized (
    select coalesce(sum(memory + 16 * rows), 0)::bigint as memory
    from ingest_log
    where tenant_id = %(tenant_id)s and seq > (select greatest(through_seq, %(known_seq)s) from place)
)
select p.through_seq, w.memory, l.seq, l.stored_ms, l.batch
from place p cross join waiting w
left join ingest_log l
       on w.memory <= %(room)s
      and l.tenant_id = %(tenant_id)s and l.seq > (select greatest(through_seq, %(known_seq)s) from place)
order by l.seq;

-- name: backlog
-- What lies behind a reader's place.
select count(*) as batches, coalesce(sum(l.rows), 0)::bigint as rows, coalesce(sum(l.bytes), 0)::bigint as bytes,
       min(l.stored_ms) as oldest_ms
from ingest_log l
where l.tenant_id = %(tenant_id)s
  and l.seq > coalesce((select through_seq from ingest_readers
                        where tenant_id = %(tenant_id)s and reader = %(reader)s), 0);

-- name: place
select through_seq from ingest_readers where tenant_id = %(tenant_id)s and reader = %(reader)s;

-- name: add_reader
insert into ingest_readers (tenant_id, reader, through_seq) values (%(tenant_id)s, %(reader)s, %(through_seq)s)
on conflict do nothing;

-- name: advance
update ingest_readers set through_seq = greatest(through_seq, %(through_seq)s)
where tenant_id = %(tenant_id)s and reader = %(reader)s
returning through_seq;

-- name: drop
-- Batches that every reader is past.
delete from ingest_log
where tenant_id = %(tenant_id)s
  and seq <= (select least(min(through_seq), %(through_seq)s::bigint) from ingest_readers
              where tenant_id = %(tenant_id)s);
