-- A directory's password is sealed with the master key only until its workspace has a data key: then with that one.
alter table workspaces add column directory_secret bytea;
-- Moved by every new password, so that the directory is tried with it.
alter table workspaces add column password_revision integer not null default 0;
