"""Fetching ahead: for whom it is worth a trial, and a script that trains under it."""

from __future__ import annotations

from typing import Any

import pytest
from facts import CUDA, facts

from hotlap.knobs.data.fetch_ahead import FetchAhead
from hotlap.records import Skip


@pytest.mark.parametrize(
    "changes",
    [
        {"loader": {"draws_randomness": True}},
        {"loader": {"draws_randomness": False}, "stochastic": True},
        {"machine": {"cores": 1, "threads": 2}},
    ],
)
def test_for_whom(changes: dict[str, Any]) -> None:
    """Fetching may draw, or else the model may; and two logical cores are enough."""
    assert FetchAhead().choices(facts(**changes)) == (True,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loader": {"trains": False}}, "no DataLoader feeds the training"),
        ({"loader": {"num_workers": 2}}, "worker processes fetch ahead already"),
        (CUDA, "CUDA is in use"),
        ({"machine": {"threads": 1}}, "there is no core to spare"),
        ({"machine": {"threads": 8, "quota": 1.5}}, "there is no core to spare"),
        ({"machine": {"threads": 8}, "world_size": 8}, "there is no core to spare"),
        (
            {"loader": {"dataset": "__main__:Crops", "tied": "fetching changes the dataset"}},
            "Crops: fetching changes the dataset",
        ),
        (
            {"loader": {"draws_randomness": True}, "stochastic": True},
            "the model draws random numbers between two batches",
        ),
        (
            {"loader": {"draws_randomness": None}, "stochastic": True},
            "the model draws random numbers between two batches",
        ),
        ({"loader": {"wait_s": 0.001, "use_s": 0.1}}, "the training waits for its batches for less than 2%"),
        ({"loader": {"fetch_s": 0.001, "carry_s": 0.001}}, "a batch takes about as long to be handed"),
    ],
)
def test_for_whom_not(changes: dict[str, Any], reason: str) -> None:
    """Each with its reason."""
    answer = FetchAhead().choices(facts(**changes))

    assert isinstance(answer, Skip)
    assert answer.reason.startswith(reason)
