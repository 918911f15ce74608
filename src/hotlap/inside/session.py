"""One process under hotlap: reads the task and installs what it names.

A task is `{"purpose", "settings": [[knob, value], ...], "roots": [...], "seed", "steps", "limit_s", "options": {...}}`,
with "arms", each a list of settings, where a trial switches between them;
the purpose is observe, time, losses, reference, noise, candidate or repeat for trials, and run for the real training
under a plan.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.inside.roots import Wanted
from hotlap.knobs import knob_by_id


def start(task: dict[str, Any]) -> Host:
    """Install everything that the task asks for. Called once per process, right after torch was imported."""
    host = Host(Journal(os.environ.get("HOTLAP_JOURNAL")), task)
    host.journal.write("hello", pid=os.getpid(), argv=sys.argv, rank=os.environ.get("RANK", "0"))
    if task["purpose"] != "run":
        from hotlap.inside import seeds, trial

        seeds.install(host, task["seed"])
        trial.install(host)
    for knob_id, value in task["settings"]:
        _turn(host, knob_id, value)
    host.roots.install({(root["name"], root["index"]): _wanted(root) for root in task["roots"]})
    return host


def _turn(host: Host, knob_id: str, value: Any) -> None:
    try:
        knob_by_id(knob_id).install(value, host)
    except Exception as error:
        host.failed(knob_id, f"{type(error).__name__}: {error}")
    else:
        host.journal.write("installed", knob=knob_id)


def _wanted(root: dict[str, Any]) -> Wanted:
    served, shapes = root.get("served"), root.get("parameter_shapes")
    if served is not None:
        served = frozenset((tuple(map(tuple, call[0])), *map(tuple, call[1:])) for call in served)
    return Wanted(served, None if shapes is None else [tuple(shape) for shape in shapes])
