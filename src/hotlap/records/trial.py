"""What is tried and what was recorded of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotlap.records.facts import Facts
from hotlap.records.race import Raced
from hotlap.records.words import Outcome, Value


@dataclass(frozen=True)
class Setting:
    """A knob turned to a value."""

    knob: str
    value: Value

    def __str__(self) -> str:
        """As `--set` takes it, without a value that is just on."""
        if self.value is True:
            return self.knob
        return f"{self.knob}={str(self.value).lower() if isinstance(self.value, bool) else self.value}"


@dataclass(frozen=True)
class Setup:
    """Sorted settings; the empty one is the untouched script."""

    settings: tuple[Setting, ...] = ()

    @classmethod
    def of(cls, values: dict[str, Value]) -> Setup:
        """The setup for these knob values, in canonical order."""
        return cls(tuple(Setting(knob, values[knob]) for knob in sorted(values)))

    @property
    def values(self) -> dict[str, Value]:
        """Knob id to value."""
        return {setting.knob: setting.value for setting in self.settings}

    def with_(self, knob: str, value: Value) -> Setup:
        """This setup with one more setting."""
        return Setup.of({**self.values, knob: value})

    def without(self, *knobs: str) -> Setup:
        """This setup less some knobs."""
        return Setup.of({knob: value for knob, value in self.values.items() if knob not in knobs})

    def less(self, other: Setup) -> Setup:
        """The settings that are not in the other one."""
        return Setup(tuple(setting for setting in self.settings if setting not in other.settings))

    def __str__(self) -> str:
        return ", ".join(map(str, self.settings)) or "as written"


AS_WRITTEN = Setup()
"""The untouched script."""


@dataclass(frozen=True)
class Trial:
    """One fresh run of the script."""

    id: str
    purpose: str
    """observe, time, losses, race, reference, noise, candidate, spread, repeat, modules, fetches or grow."""
    setup: Setup
    seed: int
    """Mixed into the script's own seeds; 0 leaves them as written."""
    block: int
    steps: int
    """Training steps after which it is ended; 0 for no limit."""
    limit_s: float
    """It is ended after so much time in its training loop even when the steps are not reached."""
    options: dict[str, Value] = field(default_factory=dict)
    """What the purpose needs besides: noise unit, folder of the reference, ..."""
    start_limit_s: float = 0.0
    """Time without a sign of life before its first step after which it is given up; 0 for as long as any."""
    arms: tuple[Setup, ...] = ()
    """What an interleaved trial switches between, each on top of `setup`; () for a trial of one setup."""


@dataclass(frozen=True)
class Steps:
    """The steps of one process as columns of equal length, in order from the first."""

    total_s: tuple[float, ...] = ()
    phases_s: dict[str, tuple[float, ...]] = field(default_factory=dict)
    samples: tuple[int, ...] = ()
    losses: tuple[float | None, ...] = ()
    faults: tuple[float, ...] = ()
    """Minor page faults, counted over stretches of steps and spread evenly."""
    compiles: tuple[int, ...] = ()
    """Graphs compiled so far at the end of each step."""
    arms: tuple[int, ...] = ()
    """Of an interleaved trial: the place of the arm that each step counts for, from 1, or 0 for none."""


@dataclass(frozen=True)
class Recording:
    """What one trial left behind. Never edited."""

    trial: Trial
    outcome: Outcome
    reason: str
    exit_code: int | None
    wall_s: float
    startup_s: float | None
    """From the start of the process to the first training step."""
    steps: Steps
    epoch_start_s: float
    """Mean cost of starting an iteration over the training loader: `iter()` and the surplus of the first batch."""
    evaluation_s: float
    """Time in evaluation; it is part of no step."""
    evaluations: int
    warmup_steps: int
    device_phases_s: dict[str, float]
    """Mean time of each phase on the device itself, by events in some of the steady steps; {} without one."""
    peak_bytes: int
    cuda_peak_bytes: int | None
    processes: int
    """Processes that trained."""
    facts: Facts | None
    failed_probes: dict[str, str]
    failed_knobs: dict[str, str]
    installed_knobs: tuple[str, ...]
    notes: tuple[str, ...]
    """What was seen that a reader should know, in words."""
    log: str
    """Where the captured output is, relative to the logbook."""
    seen: dict[str, Any] = field(default_factory=dict)
    """What the probes of an observed run saw, by probe; see `records.Seen`."""
    load: dict[str, float] = field(default_factory=dict)
    """What took CPU time from it, as shares of the machine's, see `trials.load`."""
    step_peak_bytes: int | None = None
    """The most that was held from the end of the warm-up on: by the training process, or by tensors on its device; None
    where the kernel does not let that be seen apart from the start."""
    race: Raced | None = None
    """What a trial of the race saw of the optimizer; None in any other."""
