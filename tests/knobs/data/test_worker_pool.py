"""Kept workers: for whom they are worth a trial."""

from __future__ import annotations

from typing import Any

import pytest
from facts import facts

from hotlap.knobs.data.worker_pool import WorkerPool
from hotlap.records import Skip

CROPS = {"dataset": "__main__:Crops", "num_workers": 2, "length": 640, "batch_size": 64}
PACE = {"start_s": 0.03, "use_s": 0.008, "wait_s": 0.002}


@pytest.mark.parametrize("pace", [{}, PACE])
def test_offered(pace: dict[str, Any]) -> None:
    """Where a start shows: 30 ms in an epoch of 130; and where it was not seen."""
    assert WorkerPool().choices(facts(loader=CROPS | pace)) == (True,)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        ({"num_workers": 0}, "no DataLoader with workers"),
        ({"pool": "fetching changes the dataset"}, "Crops: fetching changes the dataset"),
        (PACE | {"length": 64_000}, "starting workers takes less than 0.5% of an epoch"),
    ],
)
def test_for_whom_not(loader: dict[str, Any], reason: str) -> None:
    """Each with its reason."""
    answer = WorkerPool().choices(facts(loader=CROPS | loader))

    assert isinstance(answer, Skip)
    assert answer.reason.startswith(reason)
