"""The update in lists."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from facts import CUDA, facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.knobs.optimizer.foreach_update import ForeachUpdate
from hotlap.records import Skip

SMALL = {"parameters": 100, "parameter_shapes": ((10, 5), (50,))}
NADAM = {"name": "torch.optim.nadam:NAdam"}


@pytest.mark.parametrize("name", ["RMSprop", "NAdam", "RAdam", "Adadelta", "Adamax", "ASGD", "Rprop"])
def test_learns_the_same_and_leaves_no_trace_in_checkpoints(host: Host, name: str) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(4, 4)
    net = copy.deepcopy(plain)
    other = train(plain, name)
    ForeachUpdate().install(True, host)
    optimizer = train(net, name)

    assert optimizer.param_groups[0]["foreach"] is True
    assert optimizer.state_dict()["param_groups"] == other.state_dict()["param_groups"]
    torch.testing.assert_close(net.weight, plain.weight)


def train(net: nn.Module, name: str) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.linspace(-1, 1, 8).reshape(2, 4)).pow(2).sum().backward()
        optimizer.step()
    return optimizer


def test_a_fused_kernel_is_better(host: Host) -> None:
    ForeachUpdate().install(True, host)

    assert train(nn.Linear(4, 4), "AdamW").param_groups[0]["foreach"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "no optimizer of the script updates in lists and has no fused kernel"),
        ({**CUDA, "optimizer": NADAM}, "on CUDA torch updates in lists by itself"),
        ({"optimizer": {**NADAM, "foreach": True}, "root": SMALL}, "the optimizer already updates in lists"),
        (
            {"optimizer": NADAM, "root": {**SMALL, "parameters": 10**6}},
            "the parameters are large, and would be slower to update in lists",
        ),
    ],
)
def test_says_why_not(changes: dict[str, Any], reason: str) -> None:
    assert ForeachUpdate().choices(facts(**changes)) == Skip(reason)


def test_on_for_many_small_parameters() -> None:
    assert ForeachUpdate().choices(facts(optimizer=NADAM, root=SMALL)) == (True,)
