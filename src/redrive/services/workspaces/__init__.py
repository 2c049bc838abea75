"""The tenant's place: registered and deregistered by jobs of real steps, each with a probe and an undo.

::

    registration    subnets ► rules ► database ► samples ► key ► directory ► join ► endpoints ► name ► open
    deregistration  close ► name ► endpoints ► leave ► key ► erase ► database ► rules ► closed

    model     what can be asked for, and what is wrong with it; where a workspace stands
    service   register, modify, deregister, retry, lock
    tasks     the attempts of these jobs, with their steps; task_ids names them
    house     the workspace as it stands, and the parts of the process that steps need
    steps     the steps' effects: each does, finds, and undoes one thing
    job       the kinds of job; steps whose input has changed are done again at a retry

Guarantees: a step's effect in our database and its record fence each other; what lies elsewhere (the directory, the
sample store) is looked up after a crash before anything is done again. A job that the workspace has left behind,
retried or rerun, changes nothing. Data calls are answered only while the tenant is open. Deregistration erases
nothing before the directory has let go, and refuses while jobs are active or data is under a legal hold.
"""

from __future__ import annotations
