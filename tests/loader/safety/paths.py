"""The fetch paths that are tested. A new one is a new line in PATHS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path as File
from typing import Any

import msgspec
import pytest
from facts import facts

import hotlap
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import knob_by_id
from hotlap.loader.inspect import LoaderWatch
from hotlap.records import Facts, Loader, Skip, Value
from hotlap.trials.journals import _draws, _tied, lines_by_process, of_kind

TASK = {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}}


DROP_IN = "hotlap.DataLoader"
"""No knob: the scenario's loaders are built of this class instead of torch's."""


@dataclass(frozen=True)
class Path:
    """A knob with a value; without a knob the stock loader again, which shows that a scenario repeats at all."""

    knob: str = ""
    value: Value = True
    not_held: tuple[tuple[str, str], ...] = ()
    """Lines of the checklist that this path cannot hold, each with the reason."""

    def __str__(self) -> str:
        return f"{self.knob}-{self.value}" if self.knob else "stock"

    def install(self, host: Host, seen: Facts) -> None:
        """Put it in as a plan would; skip the test where `hotlap tune` would not offer it for what was observed."""
        if not self.knob:
            return
        if self.knob == DROP_IN:
            for name in [name for name in sys.modules if name.startswith("loader.safety.")]:
                if hasattr(sys.modules[name], "DataLoader"):
                    host.set(sys.modules[name], "DataLoader", hotlap.DataLoader)
            return
        answer = knob_by_id(self.knob).choices(seen)
        if isinstance(answer, Skip):
            pytest.skip(f"refused: {answer.reason}")
        used = {loader.num_workers for loader in seen.loaders}
        if self.knob == "virtual-workers" and max(used, default=0) <= int(self.value):
            pytest.skip("the scenario has no more workers as written")
        if self.knob == "loader-workers" and used == {self.value}:
            pytest.skip("the scenario has so many workers as written")
        knob_by_id(self.knob).install(self.value, host)


_EARLY = (("S27", "a file is read some batches before the script's process would read it"),)
_NO_PROCESS = (
    ("S08_PROCESS", "a dataset that asks for its process finds the training's"),
    ("S35", "there is no worker process that could be killed"),
)
_SHARED = (("S38", "the samples of a dataset lie in memory that workers share, which holds two descriptors"),)
PATHS = (
    Path(),
    Path("whole-batch-fetch"),
    Path("loader-workers", 2, _EARLY),
    Path("fetch-ahead", not_held=_EARLY),
    Path("virtual-workers", 1),
    Path("virtual-workers", 0, _NO_PROCESS),
    Path("worker-pool"),
    Path("sample-cache", not_held=_SHARED),
    Path(DROP_IN),
)


def observed(scenario: Callable[[], Any], folder: File) -> Facts:
    """The facts of an observed run of a scenario, in which every loader feeds the training."""
    host = Host(Journal(None), TASK)
    watch = LoaderWatch(host)
    host.loaders.watch()
    watch.install()
    host.loaders.time(_NoTape())  # type: ignore[arg-type]

    def fed(_: Any, batch: Any) -> Any:
        watch.fed_training()
        return batch

    host.loaders.serve(fed)
    try:
        scenario()
        watch.try_caching()
        loaders = watch.facts()
    finally:
        host.undo()
    told = of_kind([line for journal in lines_by_process(folder) for line in journal], "fetch")
    return facts(loaders=tuple(_with_workers(loader, told) for loader in loaders))


def _with_workers(loader: Loader, told: list[dict[str, Any]]) -> Loader:
    fields = asdict(loader)
    mine = [line for line in told if line["dataset"] == loader.dataset]
    draws = _draws(fields, [line["draws"] for line in mine])
    in_workers = [line["tied"] for line in mine]
    tied = _tied(loader.tied, in_workers) if loader.num_workers else loader.tied
    pool = _tied(loader.pool, in_workers)
    pace = {
        "start_s": None,
        "fetch_s": None,
        "wait_s": None,
        "use_s": None,
    }  # a path is held to the checklist wherever it may be taken
    return replace(msgspec.convert(fields, Loader), draws_randomness=draws, tied=tied, pool=pool, **pace)


class _NoTape:
    """The observed run's clock, which nobody reads here."""

    foreign, thread = True, -1

    def note(self, mark: int) -> None:
        """Nothing."""

    note_long = note

    def now(self) -> int:
        """No time."""
        return 0

    def mark(self, what: int) -> None:
        """Nothing."""
