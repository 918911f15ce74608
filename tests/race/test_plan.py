"""A proven winner in the plan."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from hotlap.errors import HotlapError
from hotlap.plan import Gain, Header, Level, Plan, PlannedMachine, PlannedSetting, read, write
from hotlap.race.plan import with_winner
from hotlap.race.result import RaceResult
from hotlap.records import SCHEMA, Contract
from hotlap.run import known_knobs, trusted
from race.field import proven

DAY = datetime.date(2026, 1, 2)
GAIN = Gain(value=1.5, low=1.4, high=1.6, n=6)


@pytest.fixture
def won() -> RaceResult:
    """A proven answer."""
    pytest.importorskip("optuna")
    return proven()


def tuned(result: RaceResult, **changes: str) -> Plan:
    """What a tune left behind."""
    facts = result.facts
    header = Header(
        date=DAY,
        script=facts.script,
        script_sha256=changes.get("sha256", facts.script_sha256),
        argv=facts.argv,
        torch=facts.torch,
        python=facts.python,
        device=facts.device,
        machine=PlannedMachine(cpu="any", cores=1),
        speedup=GAIN,
    )
    settings = (PlannedSetting(knob="channels-last", value=True, contract=Contract.ROUNDING, share=GAIN),)
    levels = (Level(contract=Contract.ROUNDING, speedup=GAIN),)
    return Plan(schema=SCHEMA, header=header, settings=settings, levels=levels)


def test_a_winner_makes_a_plan_whose_contract_is_recipe(won: RaceResult, tmp_path: Path) -> None:
    with_winner(won, tmp_path / "hotlap.toml", DAY)
    plan = read(tmp_path / "hotlap.toml", known_knobs())
    first = won.finalist(won.winner)
    assert first is not None

    assert plan.setup().values == {"optimizer-rule": first.arm}
    assert [setting.contract for setting in plan.settings] == [Contract.RECIPE]
    assert trusted(plan, Contract.REDUCED).settings == ()
    assert plan.header.speedup is None


def test_what_a_tune_found_is_kept_with_its_own_speed_up(won: RaceResult, tmp_path: Path) -> None:
    path = tmp_path / "hotlap.toml"
    write(tuned(won), path)
    with_winner(won, path, DAY)
    with_winner(won, path, DAY)
    plan = read(path, known_knobs())

    assert set(plan.setup().values) == {"channels-last", "optimizer-rule"}
    assert plan.header.speedup is None
    cut = plan.cut(Contract.REDUCED)
    assert set(cut.setup().values) == {"channels-last"}
    assert cut.header.speedup == GAIN


def test_a_plan_of_another_script_is_replaced(won: RaceResult, tmp_path: Path) -> None:
    path = tmp_path / "hotlap.toml"
    write(tuned(won, sha256="0" * 63 + "1"), path)
    with_winner(won, path, DAY)

    assert set(read(path, known_knobs()).setup().values) == {"optimizer-rule"}


def test_a_plan_that_cannot_be_read_is_not_overwritten(won: RaceResult, tmp_path: Path) -> None:
    path = tmp_path / "hotlap.toml"
    path.write_text("this is no plan")
    with pytest.raises(HotlapError):
        with_winner(won, path, DAY)

    assert path.read_text() == "this is no plan"
