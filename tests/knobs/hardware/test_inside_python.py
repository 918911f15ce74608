"""Knobs that are a call: the garbage collector, denormals, gradients that are let go, checks of distributions."""

from __future__ import annotations

import gc

import pytest
import torch

from hotlap.inside.host import Host
from hotlap.knobs import knob_by_id


def step(host: Host, *, set_to_none: bool = True) -> torch.nn.Parameter:
    """One update of one parameter, with its gradient cleared as asked."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=set_to_none)
    return weight


def test_what_exists_at_the_first_step_is_frozen(host: Host) -> None:
    """Once, and until the host takes it back."""
    before = gc.get_freeze_count()
    knob_by_id("gc-freeze").install(True, host)
    assert gc.get_freeze_count() == before
    step(host)
    frozen = gc.get_freeze_count()
    step(host)

    assert frozen > before + 1000
    assert gc.get_freeze_count() <= frozen
    host.undo()
    assert gc.get_freeze_count() == 0


def test_denormals_become_zero(host: Host) -> None:
    """And stay what they are once it is taken back."""
    small = torch.tensor([1e-38])
    knob_by_id("flush-denormals").install(True, host)
    flushed = (small / 10).item()
    host.undo()

    assert flushed == 0.0
    assert (small / 10).item() > 0.0


@pytest.mark.parametrize("on", [False, True])
def test_gradients_are_let_go(host: Host, on: bool) -> None:
    """Whatever the script asked for."""
    if on:
        knob_by_id("grads-to-none").install(True, host)

    assert (step(host, set_to_none=False).grad is None) == on
    assert step(host).grad is None


def test_distributions_are_built_unchecked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong argument is an error again once it is taken back; Dynamo, where it was imported, has switched it off."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    knob_by_id("distribution-checks").install(False, host)
    torch.distributions.Normal(0.0, -1.0)
    host.undo()
    with pytest.raises(ValueError, match="scale"):
        torch.distributions.Normal(0.0, -1.0)
