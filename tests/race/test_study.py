"""What Optuna is asked, and what it keeps."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from hotlap.errors import HotlapError
from hotlap.race.arm import Arm
from hotlap.race.rules import Range
from hotlap.race.study import Search, open_storage, optuna

optuna_or_skip = pytest.importorskip("optuna")
LR, DECAY, NONE = Range(1e-3, 1e-4, 1e-2), Range(1e-2, 5e-3, 1.0), Range(0.0, 0.0, 0.0)


def search(points: int = 6, seed: int = 1, decay: Range = NONE, name: str = "adam") -> Search:
    return Search(open_storage(None), name, Arm("adam", lr=1e-3), LR, decay, points, seed)


def test_the_first_points_are_where_people_begin_and_beside_it() -> None:
    asked = search()
    rates = [asked.ask().lr for _ in range(3)]

    assert rates == pytest.approx([1e-3, 3e-3, 1e-3 / 3], rel=1e-3)


def test_the_others_are_spread_over_the_range_and_follow_from_the_seed() -> None:
    rates = [search(12, seed).ask().lr for seed in (1, 1)]
    one, same, other = (search(12, seed) for seed in (1, 1, 2))
    drawn = [[found.ask().lr for _ in range(12)] for found in (one, same, other)]

    assert rates[0] == rates[1]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(rate is not None and LR.low <= rate <= LR.high for rate in drawn[0])
    assert len(set(drawn[0])) == 12


def test_the_decay_is_searched_only_where_there_are_many_points() -> None:
    few, many = search(4, decay=DECAY), search(12, decay=DECAY)

    assert [few.ask().weight_decay for _ in range(4)] == [None] * 4
    decays = {many.ask().weight_decay for _ in range(12)}
    assert len(decays) > 5
    assert all(decay is not None and DECAY.low <= decay <= DECAY.high for decay in decays)


def test_a_rate_beyond_the_edge_can_be_asked_for() -> None:
    asked = search(3)
    for _ in range(3):
        asked.ask()

    assert asked.ask(0.5).lr == 0.5


def test_a_file_keeps_every_trial_with_its_rungs(tmp_path: Path) -> None:
    """For optuna-dashboard: what was kept, what was pruned, what failed."""
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    asked = Search(open_storage(url), "adam", Arm("adam", lr=1e-3), LR, NONE, 3, 1)
    first, second, third = (asked.ask() for _ in range(3))
    for arm, value in ((first, 1.0), (second, 2.0)):
        asked.report(arm, value, 0)
    asked.report(first, 0.5, 2)
    asked.tell({first: 0.5, second: 2.0, third: float("inf")}, first)

    study = optuna().load_study(study_name="adam", storage=url)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.trials[0].intermediate_values == {0: 1.0, 2: 0.5}
    assert study.best_params["lr"] == pytest.approx(1e-3)


def test_a_storage_that_cannot_be_opened_is_an_error_without_its_password() -> None:
    with pytest.raises(HotlapError) as raised:
        open_storage("nonsense://user:hunter2@host/db")

    assert raised.value.slug == "bad-storage"
    assert "hunter2" not in str(raised.value)


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HotlapError, match=r"hotlap\[race\]") as raised:
        open_storage(None)

    assert raised.value.slug == "no-optuna"


def test_a_missing_driver_is_named_with_its_package() -> None:
    """What pip calls it, which is not what Python imports."""
    if importlib.util.find_spec("MySQLdb"):
        pytest.skip("it is installed here")
    with pytest.raises(HotlapError, match="pip install mysqlclient") as raised:
        open_storage("mysql://user:hunter2@host/db")

    assert "hunter2" not in str(raised.value)
