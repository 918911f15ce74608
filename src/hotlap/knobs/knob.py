"""The interface of a knob: one change that may make a training faster, or smaller.

A knob is one class in one file, and its docstring is its documentation. The parent asks `choices` and `environment`;
`install` runs in the user's process and is the only place where a knob may import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, ClassVar

from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class When(str, Enum):
    """When a knob takes hold, in the order in which knobs are installed."""

    PROCESS = "process start"  # by its environment alone
    IMPORT = "torch import"
    BUILD = "model build"
    FIRST_STEP = "first step"
    ANY = "any time"


class Knob(ABC):
    """One change, tried by `hotlap tune` and applied by `hotlap run`."""

    id: ClassVar[str]
    area: ClassVar[str]
    """data, model, optimizer or hardware: the folder it lives in."""
    contract: ClassVar[Contract]
    when: ClassVar[When]
    unit: ClassVar[float] = 2.0**-23
    """Relative rounding error of the arithmetic it brings; the gates' noise arms perturb by as much."""
    phase: ClassVar[str] = ""  # of a step that it can shorten at most; "" when it may shorten any
    allowed: ClassVar[tuple[Value, ...] | range] = (True,)
    """What its value may be."""
    conflicts: ClassVar[tuple[str, ...]] = ()  # ids of knobs that cannot be on together with it
    fixes: ClassVar[tuple[str, ...]] = ()
    """Areas whose knobs cannot be switched between two steps in a process in which this one is on."""
    steadies_memory: ClassVar[bool] = False
    """Freed memory stays in the process, so that what one setting frees does not tell on the times of the next."""
    thrifty: ClassVar[bool] = False
    """Of values that are about as fast the smallest is taken, for it costs the machine less."""
    goals: ClassVar[tuple[Goal, ...]] = (Goal.SPEED,)  # under others it is not tried
    suggested_only: ClassVar[bool] = False
    """It enters a plan only by `--set`, and then whatever it costs: the user's wish and not the tune's."""
    repeats: ClassVar[bool] = False
    """Two runs of one seed agree to the bit; that is tested before a plan with it is written."""

    @abstractmethod
    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Values worth trying for this script on this machine, likeliest first, or why none is."""

    def refuses(self, value: Value) -> str | None:
        """Why a plan or `--set` cannot ask for this value; None when it can."""
        if isinstance(self.allowed, range):
            fits = isinstance(value, int) and not isinstance(value, bool) and value in self.allowed
            return None if fits else f"it takes a whole number from {self.allowed.start} to {self.allowed.stop - 1}"
        if any(type(value) is type(one) and value == one for one in self.allowed):
            return None
        return "it takes " + " or ".join(str(one).lower() for one in self.allowed)

    def saves_s(self, facts: Facts) -> float:
        """The most that it can take off a step [s]; infinite where that was not measured."""
        return inf

    def starts_s(self, value: Value) -> float:
        """What it adds to the start of a training whose caches are empty, roughly [s]."""
        return 0.0

    def switches(self, facts: Facts) -> bool:
        """Whether it can be turned on and off between any two steps of this script, and leaves nothing behind."""
        return False

    def environment(self, value: Value) -> dict[str, str]:
        """Variables for the user's process; for knobs that take hold at its start."""
        return {}

    def install(self, value: Value, host: Host) -> None:  # noqa: B027 an environment can be all there is to it
        """Turn the knob in the user's process, right after torch was imported, through the host only.

        Raises:
            Exception: Any; the trial then counts as failed and `hotlap run` goes on without the knob, loudly.
        """
