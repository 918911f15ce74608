"""Which settings of a rule are tried: Optuna samples them, and keeps the record of every trial.

The logbook is what a race is told from and goes on from; Optuna's storage is a copy of it for `optuna-dashboard` and
for whoever wants to look on from another machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

from hotlap.errors import HotlapError
from hotlap.packages import optional
from hotlap.race.arm import Arm
from hotlap.race.halving import FACTOR
from hotlap.race.rules import Range

_SECOND_SETTING = 10  # points; with fewer the learning rate alone is searched (Google's tuning playbook)
_PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""A driver's module to the package that has it, where the names differ."""


def optuna() -> Any:
    """The package, or a sentence on where to get it.

    Raises:
        HotlapError: It is not installed beside hotlap.
    """
    package = optional("optuna")
    package.logging.set_verbosity(package.logging.ERROR)
    return package


def open_storage(url: str | None) -> Any:
    """Where Optuna keeps its record; in memory for None.

    Raises:
        HotlapError: Optuna is missing, or the storage cannot be opened.
    """
    package = optuna()
    if url is None:
        return package.storages.InMemoryStorage()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return package.storages.RDBStorage(url)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "the driver"
        what = f"{missing}, which opens a {url.partition(':')[0]} database, is not installed beside hotlap."
        install = f"install it with `pip install {_PACKAGES.get(missing, missing)}`"
        raise HotlapError("bad-storage", what, fix=install) from None
    except Exception as error:
        what = f"Optuna cannot open the storage {url.split('@')[-1]}: {type(error).__name__}."
        raise HotlapError(
            "bad-storage", what, fix="name a database that it can, as --storage sqlite:///race.db"
        ) from None


@dataclass
class Search:
    """The settings of one rule, asked for and told of.

    Args:
        storage: See `open_storage`.
        name: Of the study.
        base: The arm as it is with its first settings.
        lr: Where to search the learning rate, log scale.
        weight_decay: Where to search the decay; searched only where many points are tried.
        points: How many will be asked for.
        seed: Of the sampler.
    """

    storage: Any
    name: str
    base: Arm
    lr: Range
    weight_decay: Range
    points: int
    seed: int
    _study: Any = field(init=False, repr=False)
    _asked: dict[Arm, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Fixed points first: where people begin, and a factor to either side."""
        package = optuna()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the sampler is marked as experimental
            sampler = package.samplers.QMCSampler(qmc_type="halton", scramble=True, seed=self.seed)
            self._study = package.create_study(
                storage=self.storage, sampler=sampler, study_name=self.name, direction="minimize"
            )
            for rate in (self.lr.first, self.lr.first * FACTOR, self.lr.first / FACTOR)[: self.points]:
                self._study.enqueue_trial({"lr": rate, **self._first_decay()})

    @property
    def _decays(self) -> bool:
        return self.points >= _SECOND_SETTING and self.weight_decay.low < self.weight_decay.high

    def _first_decay(self) -> dict[str, float]:
        return {"weight_decay": self.weight_decay.first} if self._decays else {}

    def ask(self, lr: float | None = None) -> Arm:
        """The next arm.

        Args:
            lr: A rate from outside the sampler, as one beyond the edge of those tried.
        """
        if lr is not None:
            self._study.enqueue_trial({"lr": lr, **self._first_decay()})
        trial = self._study.ask()
        low, high = min(self.lr.low, self.lr.first / FACTOR), max(self.lr.high, self.lr.first * FACTOR)
        if lr is not None:
            low, high = min(low, lr), max(high, lr)
        found: dict[str, float] = {"lr": trial.suggest_float("lr", low, high, log=True)}
        if self._decays:
            decay = self.weight_decay
            found["weight_decay"] = trial.suggest_float("weight_decay", decay.low, decay.high, log=decay.low > 0)
        found = {name: float(f"{value:.4g}") for name, value in found.items()}
        arm = replace(self.base, **found)
        self._asked[arm] = trial
        return arm

    def report(self, arm: Arm, value: float, rung: int) -> None:
        """What an arm came to at a rung."""
        if isfinite(value):
            self._asked[arm].report(value, rung)

    def tell(self, values: Mapping[Arm, float], kept: Arm | None) -> None:
        """The end: the last value of each arm, and which one was kept to the last rung."""
        states = optuna().trial.TrialState
        for arm, trial in self._asked.items():
            value = values.get(arm, inf)
            if not isfinite(value):
                self._study.tell(trial, state=states.FAIL)
            elif arm == kept:
                self._study.tell(trial, value)
            else:
                self._study.tell(trial, state=states.PRUNED)
        self._asked.clear()
