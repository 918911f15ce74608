"""Schedule-free rules: what is evaluated and saved is the average, what is trained is not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_optimizer import ScheduleFreeAdamW
from torch import nn, optim

from hotlap.inside.host import Host

Swapped = Callable[[str], Host]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def step(model: nn.Module, optimizer: Any) -> None:
    x = torch.linspace(-1, 1, 32).reshape(8, 4)
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).pow(2).mean().backward()
    optimizer.step()


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def pair(swapped: Swapped) -> tuple[nn.Module, Any, list[torch.Tensor], list[torch.Tensor]]:
    """A model and its optimizer after some steps, with the weights of training and of evaluation by the library."""
    wanted = network()
    own = ScheduleFreeAdamW(wanted.parameters(), lr=0.05)
    for _ in range(5):
        step(wanted, own)
    training = weights(wanted)
    own.eval()
    swapped("schedule-free-adamw lr=0.05")
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.3)
    for _ in range(5):
        step(model, optimizer)
    assert same(weights(model), training)
    return model, optimizer, training, weights(wanted)


def test_eval_and_train_switch(pair: Any) -> None:
    """The calls that the script makes anyway; of another network they mean nothing."""
    model, _, training, average = pair
    network().eval()
    assert same(weights(model), training)
    model.eval()
    assert same(weights(model), average)
    model.eval()
    assert same(weights(model), average)
    model.train()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(model), training, strict=True))


def test_the_average_is_saved(pair: Any) -> None:
    """Without an `eval()`, and training goes on where it was; what is loaded goes on as well."""
    model, optimizer, training, average = pair
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(model), training, strict=True))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = network()
    resumed.load_state_dict(saved["model"])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(resumed), average, strict=True))
    other = optim.Adam(resumed.parameters(), lr=0.3)
    other.load_state_dict(saved["optimizer"])
    resumed.train()
    for trained, its in ((model, optimizer), (resumed, other)):
        for _ in range(3):
            step(trained, its)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(weights(resumed), weights(model), strict=True))


def test_a_step_after_an_evaluation_trains(pair: Any) -> None:
    """A script that forgets `train()` moves the weights of training all the same."""
    model, optimizer, _, _ = pair
    model.eval()
    step(model, optimizer)
    assert optimizer._swap.engines.optimizers[0].param_groups[0]["train_mode"]
