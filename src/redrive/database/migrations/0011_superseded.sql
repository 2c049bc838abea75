-- A job that another one has taken the place of: it stays as history and is not retried.
alter table jobs add column superseded_by bigint;
