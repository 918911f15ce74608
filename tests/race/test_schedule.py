"""Shapes of a learning rate, and what an engine makes of a script's momentum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import optim

from hotlap.inside.race.settings import Settings
from hotlap.race.arm import SCHEDULES, Arm
from hotlap.race.schedule import shape_of


@given(st.sampled_from(SCHEDULES[1:]), st.floats(-1, 2))
def test_a_shape_stays_within_its_peak(schedule: str, share: float) -> None:
    """And holds its ends before and after the horizon."""
    shape = shape_of(schedule)

    assert 0 <= shape(share) <= 1
    assert shape(-1.0) == shape(0.0)
    assert shape(2.0) == shape(1.0)


def test_shapes_are_what_they_are_called() -> None:
    shares = (0.0, 0.25, 0.5, 1.0)

    assert [shape_of("linear")(share) for share in shares] == [1, 0.75, 0.5, 0]
    assert [shape_of("cosine")(share) for share in shares] == pytest.approx([1, 0.853553, 0.5, 0])
    assert [shape_of("wsd")(share) for share in (0.0, 0.05, 0.8, 0.85, 1.0)] == pytest.approx([0, 1, 1, 0.5, 0])
    assert [shape_of("points:0/0,0.1/1,1/0")(share) for share in (0.05, 0.1, 0.55)] == pytest.approx([0.5, 1, 0.5])
    assert [shape_of("points:0/1,0.5/1,0.5/0.1,1/0.1")(share) for share in (0.4, 0.5, 0.6)] == [1, 0.1, 0.1]


def test_one_cycle_is_torchs() -> None:
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = optim.SGD([p], lr=1.0)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=101, cycle_momentum=False)
    shape = shape_of("one-cycle")
    for step in range(101):
        # torch's peak is a step early
        assert optimizer.param_groups[0]["lr"] == pytest.approx(shape(step / 100), abs=0.03)
        optimizer.step()
        if step < 100:
            scheduler.step()


@pytest.mark.parametrize(
    ("arm", "script", "wanted"),
    [
        ("adamw", {"betas": (0.5, 0.9), "eps": 1e-6}, {"betas": (0.5, 0.9), "eps": 1e-6}),  # its own family's
        ("adamw momentum=0.8", {"betas": (0.5, 0.9), "eps": 1e-6}, {"betas": (0.8, 0.9), "eps": 1e-6}),
        ("lion", {"betas": (0.5, 0.9), "eps": 1e-6}, {"betas": (0.9, 0.99)}),
        ("muon", {"betas": (0.5, 0.9), "eps": 1e-6}, {"momentum": 0.95}),
        ("momentum", {"betas": (0.5, 0.9), "eps": 1e-6}, {"momentum": 0.9}),
        ("momentum", {"momentum": 0.5}, {"momentum": 0.5}),
        ("momentum", {"momentum": 0}, {"momentum": 0.9}),  # the rule's own, for it is nothing without
        ("nesterov momentum=0.7", {"momentum": 0.5}, {"momentum": 0.7}),
        ("adamw", {"momentum": 0.5}, {"betas": (0.9, 0.999)}),
        ("sgd", {"momentum": 0.5}, {}),
        ("script momentum=0.7", {"momentum": 0.5}, {"momentum": 0.7}),
        ("script momentum=0.7", {"betas": (0.5, 0.9), "eps": 1e-6}, {"betas": (0.7, 0.9)}),
        ("script lr=1", {"momentum": 0.5}, {}),
        ("prodigy lr=0.5", {"momentum": 0.5}, {"betas": (0.9, 0.999), "d_coef": 0.5}),
    ],
)
def test_momentum_is_translated(arm: str, script: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Read again at each step, so that one that a scheduler cycles is followed within the family."""
    kind = optim.SGD if "momentum" in script else optim.Adam
    group = {"lr": 0.1, "weight_decay": 0.0, **script}
    read = Arm.parse(arm)
    settings = Settings(read, kind, [group])
    found = settings.of_group(read.rule, group, 0.1)

    assert {name: value for name, value in found.items() if name not in ("lr", "weight_decay")} == wanted
    assert found["lr"] == pytest.approx(0.1 / 0.5 if read.rule == "prodigy" else 0.1)
