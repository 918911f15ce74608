"""The fused update."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from facts import facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.knobs.optimizer.fused_update import FusedUpdate
from hotlap.records import Skip

MAKERS = {
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(torch.linspace(-1, 1, 8).reshape(2, 4)).pow(2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", MAKERS)
def test_learns_the_same_and_leaves_no_trace_in_checkpoints(host: Host, name: str) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(4, 4)
    net = copy.deepcopy(plain)
    other = MAKERS[name](plain.parameters())
    for _ in range(3):
        step(plain, other)

    FusedUpdate().install(True, host)
    optimizer = MAKERS[name](net.parameters())
    for _ in range(3):
        step(net, optimizer)
    saved = optimizer.state_dict()

    assert optimizer.param_groups[0]["fused"] is True
    assert saved["param_groups"] == other.state_dict()["param_groups"]
    torch.testing.assert_close(net.weight, plain.weight)
    optimizer.load_state_dict(copy.deepcopy(saved))
    assert optimizer.param_groups[0]["fused"] is True  # a load would have switched it off


def test_leaves_sparse_gradients_and_other_classes_alone(host: Host) -> None:
    FusedUpdate().install(True, host)
    table = nn.Embedding(4, 2, sparse=True)
    sparse = torch.optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor([1])).sum().backward()
    sparse.step()
    layer = nn.Linear(2, 2)
    other = torch.optim.NAdam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    other.step()

    assert not sparse.param_groups[0]["fused"]
    assert not other.param_groups[0].get("fused")


def test_weights_that_are_trained_from_a_later_step_on_get_their_momentum(host: Host) -> None:
    """The fused kernel of SGD takes the momentum of all of its parameters or of none."""

    def trained(dampening: float) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, dampening=dampening)
        net[0].requires_grad_(False)
        for _ in range(2):
            step(net, optimizer)
        net[0].requires_grad_(True)
        for _ in range(3):
            step(net, optimizer)
        fused.append(optimizer.param_groups[0]["fused"])
        return net[0].weight.detach()

    fused: list[object] = []
    plain = [trained(0.0), trained(0.5)]
    FusedUpdate().install(True, host)

    torch.testing.assert_close([trained(0.0), trained(0.5)], plain)
    assert fused == [None, None, True, True]


@pytest.mark.parametrize("by_keyword", [True, False])
def test_under_a_closure_it_is_looked_at_what_the_closure_made(host: Host, by_keyword: bool) -> None:
    """Before it has run, the gradients are those of the step before."""

    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = net(torch.linspace(-1, 1, 8).reshape(2, 4)).pow(2).sum()
            loss.backward()
            return loss

        for number in range(5):
            net[0].requires_grad_(number >= 2)
            optimizer.step(closure=closure) if by_keyword else optimizer.step(closure)
        return net[0].weight.detach()

    plain = trained()
    FusedUpdate().install(True, host)

    torch.testing.assert_close(trained(), plain)


def test_state_that_is_loaded_later_is_looked_at(host: Host) -> None:
    """A checkpoint from before a part was trained brings momentum of the others alone."""
    FusedUpdate().install(True, host)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    net[0].requires_grad_(False)
    step(net, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    net[0].requires_grad_(True)
    for _ in range(2):
        step(net, optimizer)
    optimizer.load_state_dict(saved)
    step(net, optimizer)

    assert all("momentum_buffer" in optimizer.state[p] for p in net.parameters())
    assert optimizer.param_groups[0]["fused"] is True


def test_a_layout_that_differs_only_where_one_element_lies_is_the_same(host: Host) -> None:
    """As the gradient of a 1x1 convolution may have it; the fused kernel serves."""
    FusedUpdate().install(True, host)
    weight = nn.Parameter(torch.randn(4, 3, 1, 1))
    optimizer = torch.optim.Adam([weight])
    fused: list[object] = []
    optimizer.register_step_pre_hook(lambda *_: fused.append(optimizer.param_groups[0]["fused"]))
    for _ in range(2):
        weight.grad = torch.randn(4, 3).as_strided((4, 3, 1, 1), (3, 1, 3, 3))
        optimizer.step()

    assert fused[-1] is True


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_that_lie_otherwise_than_their_weights_do(host: Host, name: str) -> None:
    """The fused kernels of a CPU walk both in memory order and do not look."""

    def trained() -> torch.Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
        optimizer = MAKERS[name]([weight])
        for number in range(4):
            gradient = torch.randn(4, 3, 2, 2)
            weight.grad = gradient if number == 2 else gradient.to(memory_format=torch.channels_last)
            optimizer.step()
        return weight.detach()

    plain = trained()
    FusedUpdate().install(True, host)

    torch.testing.assert_close(trained(), plain)


def test_a_group_that_is_added_later_is_saved_as_the_script_would_have_it(host: Host) -> None:
    FusedUpdate().install(True, host)
    net, other = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer = torch.optim.Adam(net.parameters())
    step(net, optimizer)
    optimizer.add_param_group({"params": list(other.parameters())})
    step(net, optimizer)

    assert [group["fused"] for group in optimizer.state_dict()["param_groups"]] == [None, None]
    assert [group["fused"] for group in optimizer.param_groups] == [True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizers": ()},
        {"optimizers": (), "manual_update": True},
        {"optimizer": {"name": "torch.optim.nadam:NAdam"}},
        {"optimizer": {"fused": True}},
        {"optimizer": {"sparse": True}},
        {"optimizer": {"floating": False}},
    ],
)
def test_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(FusedUpdate().choices(facts(**changes)), Skip)
