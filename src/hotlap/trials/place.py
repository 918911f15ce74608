"""One place of a cluster, on its node: looks at what is there, and runs one trial at a time."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from hotlap import __version__
from hotlap.ceilings import ask
from hotlap.errors import HotlapError
from hotlap.records import Facts, Recording, Trial
from hotlap.target import Target
from hotlap.trials.launch import Tier, best_tier, stop_all
from hotlap.trials.runner import ProcessRunner

_TICK_S = 0.05


@dataclass(frozen=True)
class Work:
    """What a place is asked to run; the same paths are looked for on every node."""

    target: Target
    sha256: str
    """Of the script, where hotlap was started."""
    out: Path
    tier: Tier
    startup_s: float
    version: str = __version__


@dataclass(frozen=True)
class Looked:
    """What a node is like."""

    lacks: str = ""
    """What is in the way of running trials there, as a sentence without its full stop; "" when nothing is."""
    kind: tuple[tuple[str, str], ...] = ()
    """What decides the time of a step, by name."""


class Place:
    """What stands at a place for as long as the race lasts.

    Args:
        work: What is run.
        environment: That trainings have where hotlap was started. Ray's own would tell them how many threads to use.
        on_device: The place is a GPU; which one, Ray says.
    """

    def __init__(self, work: Work, environment: dict[str, str], *, on_device: bool) -> None:
        device = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ.clear()
        os.environ.update(environment)
        if on_device and device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        self._work = work
        self._runner: ProcessRunner | None = None
        self._busy = threading.Lock()
        self._stopped = False

    def look(self) -> Looked:
        """Whether everything that trials need is there, and what decides how fast they are."""
        work = self._work
        if lacks := _missing(work):
            return Looked(lacks)
        os.chdir(work.target.cwd)
        try:
            about = ask(work.target.python, "about")
        except HotlapError as error:
            return Looked(error.what.rstrip("."))
        if "torch" not in about:
            return Looked(f"{work.target.python} cannot import torch: {about.get('torch_error', '')}".rstrip("."))
        machine, torch = about["machine"], about["torch"]
        kind = {
            "CPU": machine["cpu"],
            "cores": machine["cores"],
            "threads": machine["threads"],
            "quota of cores": machine["quota"],
            "GPU": ", ".join(device["name"] for device in torch["devices"]) or "none",
            "Python": about["python"],
            "torch": torch["version"],
            "CUDA": torch["cuda"] or "none",
            "sandbox": self._ready().tier.value,
        }
        return Looked(kind=tuple((name, str(value)) for name, value in kind.items()))

    def _ready(self) -> ProcessRunner:
        if self._runner is None:
            work = self._work
            os.chdir(work.target.cwd)
            tier = best_tier()[0] if work.tier is Tier.OVERLAY else work.tier
            self._runner = ProcessRunner(work.target, work.out, tier, work.startup_s)
        return self._runner

    def run(self, trial: Trial, facts: Facts | None) -> Recording | HotlapError | None:
        """Run one trial to its end; None when the race has ended, and nobody asks."""
        with self._busy:
            if self._stopped:
                return None
            try:
                return self._ready().run(trial, facts)
            except HotlapError as error:
                return error  # raised here, it would come out of Ray with a traceback of the node's

    def stop(self) -> None:
        """End the trial under way, and come back when nobody of it is left."""
        self._stopped = True
        while not self._busy.acquire(timeout=_TICK_S):
            stop_all()
        self._busy.release()


def _missing(work: Work) -> str:
    target = work.target
    wanted = {"working folder": target.cwd, "script": target.script, "hotlap's folder": work.out}
    wanted["interpreter"] = target.cwd / target.python
    for name, path in wanted.items():
        if path is not None and not path.exists():
            return f"{name} {path} is not there"
    if target.sha256 != work.sha256:
        return f"{target.script} has another text there"
    if __version__ != work.version:
        return f"hotlap is {__version__} there and {work.version} here"
    return ""
