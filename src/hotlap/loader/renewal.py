"""What happens in a loader's worker between two epochs, so that it is to the next one as a new worker would be.

torch's workers take their work from a queue. One kind of message there begins another epoch of workers that persist,
and leaves them as they are. What is sent here turns into such a message when a worker unpickles it, and acts by that.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data._utils import worker

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.loader.digest import digest
from hotlap.loader.snapshot import Snapshot
from hotlap.loader.states import modes, seed_worker


class Condition:
    """All that the samples of a dataset are made by, as it is now in this process.

    Args:
        parts: The dataset, the loader's `collate_fn`, and the script's `worker_init_fn`.

    Raises:
        UnfitError: It holds something whose changes cannot be told.
    """

    def __init__(self, *parts: Any) -> None:
        self._parts = parts
        self._digests = self._now()
        self._around = _around()
        self.hold()

    def hold(self) -> None:
        """Let what code reads be as it is now: a worker's number and seed are among it."""
        self._snapshot = Snapshot(*self._parts, thorough=True)

    def holds(self) -> bool:
        """Whether nothing of it has changed since."""
        return self._around == _around() and not self._snapshot.changed() and self._digests == self._now()

    def _now(self) -> list[int]:
        return [digest(part if hasattr(part, "__dict__") else SimpleNamespace(part=part)) for part in self._parts]


def _around() -> tuple[Any, ...]:
    """What a process that is forked takes over from the script's."""
    streams, numpy = (id(sys.stdout), id(sys.stderr)), sys.modules.get("numpy")
    precision = torch.get_float32_matmul_precision(), torch.get_autocast_dtype("cpu")
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    errors = numpy and numpy.geterr()
    of_torch = modes(), torch.get_default_device(), precision, exact
    return Path.cwd(), dict(os.environ), streams, list(warnings.filters), of_torch, errors


@dataclass(frozen=True)
class Answer(worker._ResumeIteration):
    """What a worker sends back."""

    fit: bool = False


class Rest:
    """Sent when an epoch is over: is everything still as it was before the first batch?"""

    def __reduce__(self) -> Any:
        return _rested, ()


class Renewal:
    """Sent when the next one begins: be as new, with this seed."""

    def __init__(self, base_seed: int) -> None:
        self._base_seed = base_seed

    def __reduce__(self) -> Any:
        return _renewed, (self._base_seed,)


class Begin:
    """Stands for the script's `worker_init_fn`, and notes what the worker is like after it.

    Args:
        init_fn: The script's; None if it has none.
        collate_fn: The loader's.
    """

    here: Begin
    condition: Condition | None

    def __init__(self, init_fn: Callable[[int], Any] | None, collate_fn: Any) -> None:
        self.init_fn = init_fn
        self._collate_fn = collate_fn

    def __call__(self, number: int) -> None:
        """In the new worker, seeded, before its first batch."""
        if self.init_fn is not None:
            self.init_fn(number)
        Begin.here = self
        try:
            info: Any = worker._worker_info
            self.condition = Condition(info.dataset, self._collate_fn, self.init_fn)
        except Exception:  # it serves this epoch, and is not kept
            self.condition = None


def _rested() -> Answer:
    try:
        condition = Begin.here.condition
        return Answer(fit=condition is not None and condition.holds())
    except Exception:  # a dataset that has come to hold what cannot be written down
        return Answer(fit=False)


def _renewed(base_seed: int) -> Answer:
    """As torch does at the start of a worker."""
    try:
        was: Any = worker._worker_info
        seed = base_seed + was.id
        now = worker.WorkerInfo(id=was.id, num_workers=was.num_workers, seed=seed, dataset=was.dataset)
        torch.set_num_threads(1)
        seed_worker(base_seed, was.id)
        Host(Journal(None), {}).set(worker, "_worker_info", now)
        with warnings.catch_warnings():
            pass  # what was warned of in an earlier epoch is warned of again, as by a new worker
        here = Begin.here
        if here.init_fn is not None:
            here.init_fn(was.id)
        if here.condition is not None:
            here.condition.hold()
        return Answer(seed=base_seed, fit=True)
    except Exception:  # a new worker will say it better
        return Answer(fit=False)
