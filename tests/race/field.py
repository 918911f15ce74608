"""Races on a machine made of formulas."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from facts import facts

from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.race.race import Wish, race
from hotlap.race.result import RaceResult
from hotlap.race.simulated import SimulatedRunner, Truth
from hotlap.race.study import open_storage
from hotlap.race.trainings import Trainings
from hotlap.records import Facts
from hotlap.target import Target

FACTS = replace(facts(loaders=(), epoch_steps=None), optimizers=(), manual_update=False)


def simulated(
    folder: Path,
    truths: Mapping[str, Truth],
    wish: Wish,
    seed: int = 0,
    known: list[Any] | None = None,
    before_s: float = 0.0,
    found: Facts = FACTS,
    **more: Any,
) -> RaceResult:
    """A race from top to bottom."""
    target = Target((sys.executable, "train.py"), None, ("train.py",), sys.executable, folder)
    runner = SimulatedRunner(target, folder, found, truths, seed=seed, **more)
    book = Logbook(folder / "logbook.jsonl")
    book.start("train.py", "", 1, "test")
    lab = Lab(runner, book, wish.budget_s or 1e9, 1, clock=lambda: runner.spent_s, known=known or [])
    lab.before_s = before_s
    return race(Trainings(lab, wish.metric), wish, open_storage(None))


@cache
def proven() -> RaceResult:
    """A proven answer, with a rule that was not admitted and a range test; one for all who look at it."""
    truths = {
        "script": Truth(),
        "adamw": Truth(),
        "nesterov": Truth(0.8, 0.1),
        "muon": Truth(2.0, 2e-3, 1.1),
        "soap": Truth(cost=3.0),
    }
    wish = Wish(only=("adamw", "nesterov", "muon", "soap"), lr_finder=True)
    with tempfile.TemporaryDirectory(prefix="hotlap-") as folder:
        return simulated(Path(folder), truths, wish, seed=1)
