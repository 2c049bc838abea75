"""Moving a database from one server to another, so that it survives whatever happens meanwhile.

::

    model      what can be asked for, and where a task stands. Pure
    service    create, name the databases, select, precheck, start, pause, retry, release, delete, look
    task       a task as it is stored
    precheck   whether it can be moved: questions to both databases
    job        the kinds of job: the transfer's phases, the precheck
    structure  what there is besides rows, by PostgreSQL's own tools
    tables     tables, columns, keys, and ranges of these
    snapshots  the one moment of the source that all chunks read
    loading    a chunk's rows in the target: copied, or begun anew on another snapshot
    copying    rows, COPY to COPY
    records    what the target keeps of a task: the effect of a unit and its record are one transaction there

Guarantees: no row is lost and none is there twice, whoever is killed at whatever moment; a worker that comes late
changes nothing in the target; nothing that was in the target before is changed (a precheck finds it). Passwords are
sealed with the project's data key and are in no answer.

Now: PostgreSQL to PostgreSQL, what is there (``Mode.FULL``). Changes that are made meanwhile are not followed.
"""

from __future__ import annotations
