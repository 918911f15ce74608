"""The plan, `hotlap.toml`: what `hotlap tune` found out and `hotlap run` applies.

People read it, edit it and commit it, so it is strict: an unknown key is an error and no knob is taken on trust. It
holds data only, never code. What a knob accepts is told by the caller; this module knows no knob.
"""

from __future__ import annotations

import datetime
import difflib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Annotated

import msgspec

from hotlap import toml_file
from hotlap.errors import HotlapError
from hotlap.plan_words import comments
from hotlap.records import SCHEMA, Contract, Estimate, Facts, Goal, Setup, Value, Word
from hotlap.toml_file import printable

Count = Annotated[int, msgspec.Meta(ge=0)]
Shapes = tuple[tuple[Count, ...], ...]
Validator = Callable[[Value], str | None]
"""Why a knob cannot take a value; None when it can."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Gain(_Table, frozen=True):
    """A speed-up or how many times less memory, unit "x", with its 95 % interval."""

    value: float
    low: float
    high: float
    n: Annotated[int, msgspec.Meta(ge=1)]

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.value <= self.high and isfinite(self.high)):
            raise ValueError("Expected 0 < low <= value <= high, all finite")

    @classmethod
    def of(cls, estimate: Estimate) -> Gain:
        """The table for a measured speed-up."""
        return cls(value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n)

    def estimate(self) -> Estimate:
        """The measured speed-up."""
        return Estimate(self.value, self.low, self.high, unit="x", n=self.n)


class PlannedMachine(_Table, frozen=True):
    """Where it was measured."""

    cpu: str
    cores: Count


class PlannedVerdict(_Table, frozen=True):
    """Whether it learns the same."""

    word: Word
    reason: str
    seeds: Count


class Header(_Table, frozen=True):
    """What was measured, and on what: the `[plan]` table."""

    date: datetime.date
    script: str
    script_sha256: str
    argv: tuple[str, ...]
    """As typed: script or `-m module` or launcher, and its arguments."""
    torch: str
    python: str
    device: str
    machine: PlannedMachine
    world_size: Annotated[int, msgspec.Meta(ge=1)] = 1
    goal: Goal = Goal.SPEED
    speedup: Gain | None = None
    """Per training step, under all settings."""
    saving: Gain | None = None
    """How many times less memory a step holds at most."""
    verdict: PlannedVerdict | None = None
    payback_steps: Count | None = None
    """Training steps that earn the extra start-up back."""
    asked: tuple[str, ...] | None = None
    """Knobs that are here because the user asked for them, whatever they cost."""
    asked_speedup: Gain | None = None
    """Per training step, under these alone: below 1 they cost time."""
    asked_saving: Gain | None = None
    """How many times less memory, under these alone, where that is the goal."""


class PlannedSetting(_Table, frozen=True):
    """A knob turned to a value, its promise, and its own share of the speed-up and the saving if that was measured."""

    knob: str
    value: Value
    contract: Contract
    share: Gain | None = None
    saving: Gain | None = None

    def __post_init__(self) -> None:
        if isinstance(self.value, float) and not isfinite(self.value):
            raise ValueError("Expected a finite value")


class Level(_Table, frozen=True):
    """The speed-up under the settings up to a contract, if that was measured."""

    contract: Contract
    speedup: Gain | None = None


class PlannedSignature(_Table, frozen=True):
    """A way of calling a root that was verified; `run` serves no other."""

    shapes: Shapes
    dtypes: tuple[str, ...]
    training: bool
    grad: bool
    manner: tuple[str, ...] | None = None


class PlannedRoot(_Table, frozen=True):
    """A module that the model knobs act on, told by class, order of construction and parameters."""

    name: str
    index: Count
    parameter_shapes: Shapes
    signatures: tuple[PlannedSignature, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. No settings is an answer too: the script is best as it is."""

    schema: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA
    header: Header = msgspec.field(name="plan")
    settings: tuple[PlannedSetting, ...] = ()
    levels: tuple[Level, ...] = ()
    roots: tuple[PlannedRoot, ...] = ()

    def __post_init__(self) -> None:
        knobs = [setting.knob for setting in self.settings]
        for knob in knobs:
            if knobs.count(knob) > 1:
                raise ValueError(f"{knob} is set more than once")

    def setup(self) -> Setup:
        """What a trial or a run installs."""
        return Setup.of({setting.knob: setting.value for setting in self.settings})

    def cut(self, contract: Contract) -> Plan:
        """This plan with only the settings that promise at least as much as `contract`.

        The speed-up is the one measured for just these settings, if any. Verdict, saving and payback belong to the
        whole plan, so a plan that lost a setting has none of them: what was not checked has not passed.
        """
        kept = tuple(setting for setting in self.settings if setting.contract.level <= contract.level)
        if len(kept) == len(self.settings):
            return self
        loosest = max((setting.contract.level for setting in kept), default=contract.level + 1)
        levels = tuple(level for level in self.levels if level.contract.level <= contract.level)
        gain = next((level.speedup for level in levels if level.contract.level >= loosest), None)
        asked = tuple(setting.knob for setting in kept if setting.knob in (self.header.asked or ())) or None
        whole = dict.fromkeys(("saving", "verdict", "payback_steps", "asked_speedup", "asked_saving"))
        header = msgspec.structs.replace(self.header, speedup=gain, asked=asked, **whole)
        return msgspec.structs.replace(self, header=header, settings=kept, levels=levels)


class Severity(str, Enum):
    """How much a mismatch matters."""

    NOTE = "note"
    WARN = "warn"
    REFUSE = "refuse"  # run the untouched script unless the user says otherwise


@dataclass(frozen=True)
class Mismatch:
    """Something that is not as it was when the plan was made."""

    key: str
    severity: Severity
    message: str


def check(plan: Plan, today: Facts | Header) -> list[Mismatch]:
    """Where today's facts differ from those the plan was measured under, in the order of the file."""
    then = plan.header
    here, there = (f"{side.machine.cpu} ({side.machine.cores} cores)" for side in (today, then))
    rows = [
        (
            "script_sha256",
            Severity.WARN,
            then.script_sha256[:16],
            today.script_sha256[:16],
            "the script was edited since",
        ),
        ("argv", Severity.NOTE, *_apart(then.argv, today.argv), "other arguments"),
        ("torch", Severity.REFUSE, then.torch, today.torch, "another version of torch"),
        ("device", Severity.REFUSE, then.device, today.device, "another device"),
        ("machine", Severity.WARN, there, here, "another machine"),
        ("world_size", Severity.REFUSE, str(then.world_size), str(today.world_size), "another number of processes"),
    ]
    return [
        Mismatch(key, severity, printable(f"{what}: {was or 'none'} in the plan, {now or 'none'} here"))
        for key, severity, was, now, what in rows
        if was != now
    ]


def _apart(then: tuple[str, ...], today: tuple[str, ...]) -> tuple[str, str]:
    """What two command lines do not share at their beginning and end; an option stands with its value."""
    begin = _shared(then, today)
    first = (*then[begin : begin + 1], *today[begin : begin + 1])
    begin -= begin > 0 and then[begin - 1].startswith("-") and not any(word.startswith("-") for word in first)
    end = min(_shared(then[::-1], today[::-1]), len(then) - begin, len(today) - begin)
    return shlex.join(then[begin : len(then) - end]), shlex.join(today[begin : len(today) - end])


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many words both begin with."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False)))


def write(plan: Plan, path: Path) -> None:
    """Put a plan in its place, whole or not at all: whatever fails, an earlier plan there is left as it was.

    Raises:
        HotlapError: plan-not-written, or what `read` would say of such a plan.
    """
    tables = msgspec.to_builtins(plan, builtin_types=(datetime.date,))
    content = toml_file.render({key: table for key, table in tables.items() if table != ()}, comments(plan))
    toml_file.parse(content, path, Plan, SCHEMA)
    toml_file.replace_file(path, content)


def read(path: Path, known: Mapping[str, Validator]) -> Plan:
    """The plan in a file.

    Args:
        path: The file.
        known: For every knob there is, what it says of a value.

    Raises:
        HotlapError: plan-missing, plan-unreadable, plan-too-large, plan-too-new, plan-missing-key,
            plan-unknown-key, plan-wrong-type, plan-out-of-range, plan-unknown-knob.
    """
    try:
        with path.open("rb") as file:
            content = file.read(toml_file.LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        fix = "run `hotlap tune` on the script, or name the file with --plan"
        raise HotlapError("plan-missing", f"There is no plan at {path}.", fix=fix) from error
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}."
        raise HotlapError("plan-unreadable", what, fix="make it a file that you may read") from error
    plan = toml_file.parse(content, path, Plan, SCHEMA)
    for place, setting in enumerate(plan.settings):
        _check_setting(place, setting, path, known)
    return plan


def _check_setting(place: int, setting: PlannedSetting, path: Path, known: Mapping[str, Validator]) -> None:
    knob = printable(setting.knob)
    if setting.knob not in known:
        near = difflib.get_close_matches(setting.knob, known, n=1)
        what = f"`settings[{place}].knob` in {path} is {knob}, and there is no such knob."
        fix = f"write {near[0]} if that is meant" if near else "take that setting out; `hotlap list` names every knob"
        raise HotlapError("plan-unknown-knob", what, fix=fix)
    complaint = known[setting.knob](setting.value)
    if complaint:
        what = f"`settings[{place}].value` in {path} is nothing that {knob} can take: {complaint}."
        raise HotlapError("plan-out-of-range", what, fix="put back the value that `hotlap tune` found")
