"""Half precision with scaled gradients, on the CPU, which has the same autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from facts import CUDA, facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.inside.loss_scale import LossScale
from hotlap.inside.roots import Wanted
from hotlap.knobs.model.autocast_fp16 import AutocastFp16
from hotlap.records import Skip

TURING = {"device": "Tesla T4", "capability": 7.5}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 1)
        self.dtypes: set[torch.dtype] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        self.dtypes.add(hidden.dtype)
        return self.second(torch.relu(hidden))


@pytest.fixture
def scale(host: Host) -> LossScale:
    scale = LossScale(host, "autocast-fp16")
    scale.install()
    return scale


def train(net: nn.Module, steps: int = 20, accumulate: int = 2) -> list[float]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(1)
    losses: list[float] = []
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(accumulate):
            x = torch.randn(32, 8, generator=draw)
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean() / accumulate
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_learns_as_in_float32_also_over_accumulated_gradients(host: Host) -> None:
    torch.manual_seed(0)
    plain = train(Net())
    AutocastFp16().install(True, host)
    host.roots.install({(f"{__name__}:Net", 0): Wanted()})
    torch.manual_seed(0)
    net = Net()
    half = train(net)

    assert net.dtypes == {torch.float16}
    assert half != plain
    assert half == pytest.approx(plain, rel=2e-2)


def test_the_scale_changes_no_bit_of_a_float32_training(scale: LossScale) -> None:
    torch.manual_seed(0)
    scaled = train(Net())
    scale.scale = 1.0
    torch.manual_seed(0)
    assert train(Net()) == scaled


def test_an_update_that_overflowed_is_left_out_and_the_scale_is_halved(scale: LossScale) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    (weight.sum() * torch.inf).backward()
    optimizer.step()
    assert weight.tolist() == [1.0] * 4
    assert not optimizer.state
    assert scale.scale == 2.0**11

    optimizer.zero_grad()
    weight.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0] * 4
    optimizer.step()
    assert weight.tolist() != [1.0] * 4


def test_a_parameter_that_is_unfrozen_later_is_scaled_back_too(scale: LossScale) -> None:
    weight = nn.Parameter(torch.ones(4), requires_grad=False)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.requires_grad_(True)
    weight.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0] * 4
    del optimizer  # the script's own reference keeps it until here


def test_gradients_that_the_script_asks_for_are_its_own(scale: LossScale) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()  # from now on the parameter carries a hook
    (asked,) = torch.autograd.grad(weight.square().sum(), weight)
    assert asked.tolist() == [2.0] * 4
    del optimizer


def test_a_step_with_a_closure_is_said_to_be_unfit(scale: LossScale, capsys: pytest.CaptureFixture[str]) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def closure() -> float:
        loss = weight.sum()
        loss.backward()
        return loss.item()

    step: Callable[[Any], Any] = optimizer.step
    step(closure)
    assert "autocast-fp16 could not be applied" in capsys.readouterr().err
    assert scale.scale == 1.0


def test_is_for_gpus_without_bfloat16() -> None:
    assert AutocastFp16().choices(facts(**TURING)) == (True,)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        CUDA,
        {**TURING, "capability": 6.1},
        {**TURING, "precision": {"grad_scaler": True}},
        {**TURING, "precision": {"autocast": True}},
        {**TURING, "root": {"dtypes": ("float64",)}},
        {**TURING, "manual_update": True},
    ],
)
def test_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(AutocastFp16().choices(facts(**changes)), Skip)
