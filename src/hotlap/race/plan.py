"""A proven winner goes into the plan, beside what a tune put there."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec

from hotlap.knobs import LAYER_SIZES, OPTIMIZER_RULE
from hotlap.plan import Level, Plan, PlannedSetting, read, write
from hotlap.planned import header_of
from hotlap.race.result import RaceResult
from hotlap.records import SCHEMA, Contract
from hotlap.run import known_knobs

_RACED = (OPTIMIZER_RULE, LAYER_SIZES)  # each without the other


def with_winner(result: RaceResult, path: Path, date: datetime.date) -> None:
    """Write the winner's setting to a plan; one that is there for the same script keeps its other settings.

    The winner changes the training algorithm, so its contract is `recipe`. What was measured of the other settings
    stays as their level; of all together nothing was measured, and nothing is said: a time to a goal is no speed-up per
    step.

    Raises:
        HotlapError: The plan that is there cannot be read, or the new one cannot be written.
    """
    won = result.finalist(result.winner)
    assert won is not None
    (change,) = won.setup.settings
    setting = PlannedSetting(knob=change.knob, value=change.value, contract=Contract.RECIPE)
    earlier = read(path, known_knobs()) if path.exists() else None
    if earlier is None or not earlier.settings or earlier.header.script_sha256 != result.facts.script_sha256:
        write(Plan(schema=SCHEMA, header=header_of(result.facts, date), settings=(setting,)), path)
        return
    others = tuple(other for other in earlier.settings if other.knob not in _RACED)
    write(merged(earlier, (*others, setting)), path)


def merged(earlier: Plan, settings: tuple[PlannedSetting, ...]) -> Plan:
    """An earlier plan with these settings; its speed-up becomes that of the level that it was measured at."""
    levels = {level.contract: level for level in earlier.levels if level.contract is not Contract.RECIPE}
    levels[Contract.RECIPE] = Level(contract=Contract.RECIPE)
    bare = msgspec.structs.replace(earlier.header, speedup=None, verdict=None, payback_steps=None)
    return msgspec.structs.replace(earlier, header=bare, settings=settings, levels=tuple(levels.values()))
