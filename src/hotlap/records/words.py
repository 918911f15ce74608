"""The closed lists of words that records are made of, and the number with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SCHEMA = 1  # of everything written to disk; a reader refuses a newer one

Value = bool | int | float | str

PHASES = ("data", "copy", "forward", "loss", "backward", "optimizer", "other")  # they sum to the step


class Contract(str, Enum):
    """What a knob promises about learning; the verifier tests the promise."""

    EXACT = "exact"  # the same bits
    ROUNDING = "rounding"  # the same maths in another order, or by another kernel
    REDUCED = "reduced"  # lower precision
    RECIPE = "recipe"  # another training algorithm: only on the user's word

    @property
    def level(self) -> int:
        """Position from the strictest promise (0) to the loosest."""
        return list(Contract).index(self)


class Goal(str, Enum):
    """What a tune looks for."""

    SPEED = "speed"  # steps that take less time
    MEMORY = "memory"  # steps that hold less memory, and are not much slower


class Status(str, Enum):
    """What an audit says of a recording."""

    PASS = "pass"
    FAIL = "fail"
    INFORMATIVE = "informative"
    NOT_APPLICABLE = "not_applicable"
    ERROR = "error"


class Word(str, Enum):
    """The grade of a verdict, from the best to no answer."""

    IDENTICAL = "identical"
    ROUNDING = "rounding"
    EQUIVALENT = "equivalent"
    CHANGED = "changed"
    UNDECIDED = "undecided"

    @property
    def may_enter_plan(self) -> bool:
        """Only a proven grade goes into a plan: "could not check" never does."""
        return self in (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT)


class Outcome(str, Enum):
    """What ended a trial: a closed list, told apart by evidence."""

    BUDGET = "budget reached"
    ENDED = "script ended early"
    EXCEPTION = "user exception"
    NOT_REACHED = "never reported in"
    DEVICE_OOM = "device out of memory"
    HOST_OOM = "host out of memory"
    SHARED_MEMORY = "shared memory full"
    CRASH = "crashed"
    HANG = "hung"
    DISK_FULL = "disk full"
    PORT_IN_USE = "port in use"
    NON_FINITE = "non-finite loss"
    BLOCKED_WRITE = "write outside the sandbox"
    KILLED = "killed, cause unknown"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Estimate:
    """The only way a measured number reaches a reader."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    unit: str
    n: int
    """Independent observations behind it."""


@dataclass(frozen=True)
class Skip:
    """Why a knob is not tried."""

    reason: str
