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
    [({"cores": 2}, 8, (2, 1)), ({"cores": 4}, 8, (4, 2)), ({"cores": 8}, 8, (4, 2)), ({"cores": 2}, 2, (1,))],
)
def test_divisors(machine: dict[str, Any], workers: int, expected: tuple[int, ...]) -> None:
    """No more processes than cores, and fewer than workers."""
    assert VirtualWorkers().choices(facts(machine=machine, loader={**CROPS, "num_workers": workers})) == expected


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        ({"num_workers": 1}, "no DataLoader with several workers"),
        ({"draws_randomness": False}, "fetching was not seen to draw"),
        ({"tied": "fetching changes the dataset"}, "Crops: fetching changes the dataset"),
        ({"num_workers": 4}, "there are fewer workers than cores"),
    ],
)
def test_for_whom_not(loader: dict[str, Any], reason: str) -> None:
    """Each with its reason."""
    answer = VirtualWorkers().choices(facts(machine={"cores": 8}, loader={**CROPS, **loader}))

    assert isinstance(answer, Skip)
    assert answer.reason.startswith(reason)
