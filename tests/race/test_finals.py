"""What the finals compare with what."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hotlap.race.finals import Entry, judged
from hotlap.race.goals import Goals
from hotlap.records import AS_WRITTEN

from .runs import final_runs

GOALS = Goals(1.0, 1.0, 1.0, 0.1, 1.0)


def entry(role: str, crossings: Sequence[int | None]) -> Entry:
    runs = final_runs(crossings)
    for run in runs:
        run.crossings.update(strict=run.crossings["default"], loose=run.crossings["default"])
    return Entry(role, role, AS_WRITTEN, 100, runs=runs)


@pytest.mark.parametrize(
    ("tuned", "gain"), [([40, 42, 38, 40, 41, 39, 40, 42], 2.0), ([None] * 8, 4.0), ([90] * 8, 4.0)]
)
def test_a_challenger_must_be_sooner_than_the_best_of_the_scripts_own(tuned: list[int | None], gain: float) -> None:
    """Which is the script as written, where tuning by half a training made it later in a whole one."""
    written, other = [80, 84, 76, 80, 82, 78, 80, 84], [20, 21, 19, 20, 20, 20, 20, 21]
    entries = [entry("script", written), entry("incumbent", tuned), entry("challenger", other)]
    script, incumbent, challenger = judged(entries, GOALS, 1, grows=False)

    assert script.vs_incumbent is incumbent.vs_incumbent is None
    assert challenger.vs_incumbent is not None
    assert challenger.vs_incumbent.speedup is not None
    assert challenger.vs_incumbent.speedup.value == pytest.approx(gain, rel=0.02)
    assert challenger.vs_incumbent.proven
