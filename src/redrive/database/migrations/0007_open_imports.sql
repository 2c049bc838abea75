-- What an import unit is about to store, as far as registry and latest values need it: an Arrow stream of a few
-- samples per series, written before the commit. So a unit whose commit stands is finished without its source.
alter table timeseries_open_imports
    add column found   bytea,
    add column skipped bigint not null default 0;
