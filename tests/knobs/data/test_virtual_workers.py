"""Virtual workers: for whom they are worth a trial."""

from __future__ import annotations

from typing import Any

import pytest
from facts import facts

from hotlap.knobs.data.virtual_workers import VirtualWorkers
from hotlap.records import Skip

CROPS = {"dataset": "__main__:Crops", "num_workers": 8, "draws_randomness": True}


@pytest.mark.parametrize(
    ("machine", "workers", "expected"),
    [({"cores": 2}, 8, (2, 1, 0)), ({"cores": 4}, 8, (4, 2, 0)), ({"cores": 2}, 2, (1, 0)), ({"cores": 8}, 4, (0,))],
)
def test_divisors(machine: dict[str, Any], workers: int, expected: tuple[int, ...]) -> None:
    """No more processes than cores, and fewer than workers; and none."""
    assert VirtualWorkers().choices(facts(machine=machine, loader={**CROPS, "num_workers": workers})) == expected


def test_none_where_fetching_is_cheap() -> None:
    """Where it draws nothing any number of processes will do, which is another knob's."""
    cheap = {**CROPS, "draws_randomness": False, "fetch_s": 0.001, "use_s": 0.01}
    assert VirtualWorkers().choices(facts(machine={"cores": 2}, loader=cheap)) == (0,)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        ({"num_workers": 0}, "no DataLoader with workers"),
        ({"tied": "fetching changes the dataset"}, "Crops: fetching changes the dataset"),
        ({"num_workers": 4, "fetch_s": 0.01, "use_s": 0.01}, "there are fewer workers than cores"),
    ],
)
def test_for_whom_not(loader: dict[str, Any], reason: str) -> None:
    """Each with its reason."""
    answer = VirtualWorkers().choices(facts(machine={"cores": 8}, loader={**CROPS, **loader}))

    assert isinstance(answer, Skip)
    assert answer.reason.startswith(reason)
