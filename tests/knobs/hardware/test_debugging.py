"""What a script may have left on: deterministic algorithms, filled memory, anomaly detection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from facts import facts

from hotlap.inside.host import Host
from hotlap.knobs import knob_by_id
from hotlap.records import Skip


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)


def step() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.sum().backward()
    torch.optim.SGD([weight], lr=0.1).step()


def test_determinism_goes_at_the_first_step(host: Host) -> None:
    """Not before, for the script may ask for it after its imports; and comes back as it was."""
    knob_by_id("deterministic-algorithms").install(False, host)
    torch.use_deterministic_algorithms(True, warn_only=True)
    step()

    assert not torch.are_deterministic_algorithms_enabled()
    host.undo()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_anomaly_detection_goes_at_the_first_step(host: Host) -> None:
    knob_by_id("anomaly-detection").install(False, host)
    torch.autograd.set_detect_anomaly(True, check_nan=False)
    step()

    assert not torch.is_anomaly_enabled()
    host.undo()
    assert torch.is_anomaly_enabled()
    assert not torch.is_anomaly_check_nan_enabled()


def test_fresh_memory_is_not_filled(host: Host) -> None:
    """The algorithms stay deterministic."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1000).isnan().all()
    knob_by_id("uninitialized-memory").install(False, host)

    assert not torch.full((1000,), 2.0).resize_(1001).isnan().any()
    assert torch.are_deterministic_algorithms_enabled()
    host.undo()
    assert torch.empty(1000).isnan().all()


@pytest.mark.parametrize("knob_id", ["deterministic-algorithms", "anomaly-detection", "uninitialized-memory"])
def test_only_where_it_is_on(knob_id: str) -> None:
    on = facts(precision={"deterministic_algorithms": True}, switches={"torch.autograd.set_detect_anomaly": "on"})

    assert knob_by_id(knob_id).choices(on) == (False,)
    assert isinstance(knob_by_id(knob_id).choices(facts()), Skip)


def test_what_the_script_asks_for_is_taken_off_by_the_user_alone() -> None:
    assert knob_by_id("deterministic-algorithms").suggested_only
    assert knob_by_id("anomaly-detection").suggested_only
    assert not knob_by_id("uninitialized-memory").suggested_only
