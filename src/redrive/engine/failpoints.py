"""Named places in the code where a test or a demonstration can raise, delay, exit or stop.

Armed by ``REDRIVE_FAILPOINTS="name=action;name=action"`` or, for a server started with
``--allow-failpoints``, by an administrator. Actions::

    error[:COUNT]    raise a transient Failure, COUNT times (always without COUNT)
    delay:SECONDS    sleep
    exit             leave the process at once, as SIGKILL would (no clean-up)
    stop             SIGSTOP the process
    off              nothing

Each may be followed by ``,after=N``: the first N hits pass. Counts are per process. An unarmed
failpoint costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass

from redrive.errors import Failure, FailureClass, invalid

#: Every failpoint there is, with what it interrupts. ``redrive failpoints`` prints it.
NAMES: dict[str, str] = {
    "engine.claimed": "after units are claimed, before any runs",
    "engine.unit.before": "before a unit's work begins",
    "engine.unit.after": "after a unit's work, before its outcome is settled",
    "engine.settle.before": "before a batch of outcomes is written",
    "engine.settle.after": "after a batch of outcomes is written",
    "engine.probe.before": "before an unknown unit is probed",
    "timeseries.storage.journaled": "after files to write or remove are recorded, before any is touched",
    "timeseries.storage.written": "after new files are written, before the commit",
    "timeseries.storage.before_commit": "just before the Delta commit",
    "timeseries.storage.after_commit": "after the Delta commit, before old files are removed",
    "timeseries.storage.before_removal": "before old files are removed",
    "timeseries.storage.after_removal": "after old files are removed, before the journal is closed",
    "timeseries.move.read": "after log rows are read by the mover, before they are written",
    "timeseries.move.committed": "after the mover's Delta commit, before the log rows are dropped",
    "timeseries.import.committed": "after an import unit's Delta commit",
    "timeseries.deletion.drained": "after a deletion's log drain, before its erasing units",
    "timeseries.deletion.checked": "after a deletion unit checked the holds, before it erases",
    "replication.recorded": "after a unit's effect and record are in the target, before the commit there",
    "replication.committed": "after a unit's commit in the target",
    "replication.anew": "after a table was begun anew in the target, before its new chunks are recorded",
}


@dataclass(slots=True)
class _Armed:
    action: str
    argument: float | None
    after: int
    hits: int = 0
    text: str = ""


_lock = threading.Lock()
_armed: dict[str, _Armed] = {}
_given: dict[str, str] = {}


def parse(action: str) -> _Armed | None:
    """Return the armed action, None for ``off``; a Problem where the text is not an action."""
    head, *options = [part.strip() for part in action.split(",")]
    word, _, argument = head.partition(":")
    after = 0
    for option in options:
        key, _, value = option.partition("=")
        if key != "after" or not value.isdigit():
            raise invalid("action", "after=N behind the action", action)
        after = int(value)
    if word == "off":
        return None
    if word in {"exit", "stop"} and not argument:
        return _Armed(word, None, after)
    if word == "delay":
        try:
            return _Armed(word, float(argument), after)
        except ValueError:
            raise invalid("action", "delay:SECONDS", action) from None
    if word == "error" and (not argument or argument.isdigit()):
        return _Armed(word, float(argument) if argument else None, after)
    raise invalid("action", "error[:COUNT], delay:SECONDS, exit, stop or off, optionally ,after=N", action)


def arm(name: str, action: str) -> None:
    """Arm ``name``; safe to repeat. A Problem for an unknown name or action."""
    if name not in NAMES:
        raise invalid("name", "one of the names that `redrive failpoints` lists", name)
    armed = parse(action)
    with _lock:
        if armed is None:
            _armed.pop(name, None)
        else:
            armed.text = action
            _armed[name] = armed


def arm_all(text: str) -> None:
    """Arm what ``REDRIVE_FAILPOINTS`` holds: ``name=action;name=action``. It stays beside what ``replace`` arms."""
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, _, action = part.partition("=")
        arm(name.strip(), action.strip())
        _given[name.strip()] = action.strip()


def replace(actions: dict[str, str]) -> None:
    """Arm exactly ``actions`` and what the environment gave; what is armed so already keeps its counts."""
    wanted = {**_given, **actions}
    with _lock:
        for name in [name for name, armed in _armed.items() if wanted.get(name) != armed.text]:
            del _armed[name]
    for name, action in wanted.items():
        if name not in _armed:
            arm(name, action)


def hit(name: str) -> None:
    """Do what is armed at ``name``; nothing where nothing is."""
    armed = _armed.get(name)
    if armed is None:
        return
    with _lock:
        armed.hits += 1
        if armed.hits <= armed.after:
            return
        if armed.action == "error" and armed.argument is not None:
            if armed.argument <= 0:
                return
            armed.argument -= 1
    _act(name, armed)


def _act(name: str, armed: _Armed) -> None:
    if armed.action == "delay":
        time.sleep(armed.argument or 0)
    elif armed.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif armed.action == "exit":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        raise Failure("failpoint", f"failpoint {name}", kind=FailureClass.TRANSIENT, target=name)
