"""Blocks that are computed twice give the gradients of blocks that are computed once, and keep less."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from facts import CUDA, facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.inside.roots import Wanted
from hotlap.knobs.model.checkpoint_modules import CheckpointModules
from hotlap.knobs.model.offload_activations import OffloadActivations
from hotlap.records import Skip


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.calls = [0]

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        self.calls[0] += 1
        return x + scale * self.drop(self.norm(self.inner(x)).relu())


class Stack(nn.Module):
    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, scale=0.5)
        return x


def trained(net: Stack, steps: int = 3) -> tuple[list[torch.Tensor], int]:
    """Weights, running statistics and the next random number after some steps, and the bytes that a forward kept."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(7)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(torch.randn(64, 8)).pow(2).mean()
        loss.backward()
        optimizer.step()
    return [*(value.clone() for value in net.state_dict().values()), torch.rand(1)], sum(kept.values())


def under(host: Host, every: int, count: int = 4) -> Stack:
    """A stack whose blocks are checkpointed, with the weights of the one that is not."""
    CheckpointModules().install(every, host)
    host.roots.install({(f"{__name__}:Stack", 0): Wanted()})
    torch.manual_seed(0)
    return Stack(count)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_every_bit_is_that_of_the_script(host: Host, every: int) -> None:
    """Dropout draws the same mask twice, running statistics move once, and the generator ends where it would have."""
    torch.manual_seed(0)
    plain, all_of_it = trained(Stack())
    net = under(host, every)
    got, less = trained(net)

    assert all(torch.equal(one, other) for one, other in zip(got, plain, strict=True))
    assert less < all_of_it
    assert [layer.calls[0] for layer in net.layers] == [6 if i % every == 0 else 3 for i in range(4)]


def test_only_training_through_the_root_is_computed_twice(host: Host) -> None:
    """Evaluation, and blocks that the script calls itself, run as written."""
    net = under(host, 1)
    names = list(net.state_dict())
    net(torch.randn(4, 8)).sum().backward()
    before = [layer.calls[0] for layer in net.layers]
    net.layers[0](torch.randn(4, 8)).sum().backward()
    net.eval()(torch.randn(4, 8)).sum().backward()

    assert before == [2, 2, 2, 2]
    assert [layer.calls[0] for layer in net.layers] == [4, 3, 3, 3]
    assert list(net.state_dict()) == names


def test_copies_are_the_scripts_own(host: Host) -> None:
    """An average of the weights, or a saved model, knows nothing of it."""
    net = under(host, 1)
    net(torch.randn(4, 8)).sum().backward()
    twin = copy.deepcopy(net)
    twin(torch.randn(4, 8)).sum().backward()

    assert [layer.calls[0] for layer in twin.layers] == [3, 3, 3, 3]
    assert pickle.loads(pickle.dumps(net)).layers[0].calls == [2]


def test_a_root_that_repeats_nothing_is_left_alone(host: Host) -> None:
    """It may stand beside one that does."""
    plain = under(host, 1, count=2)
    plain(torch.randn(4, 8)).sum().backward()

    assert [layer.calls[0] for layer in plain.layers] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"root": {"blocks": 12}}, (1, 2, 4)),
        ({"root": {"blocks": 3}}, (1, 2)),
        ({}, "repeats no block"),
        ({"root": {"blocks": 12, "compiled": True}}, "compiles its model"),
        ({"root": {"blocks": 12}, "habits": {"checkpoint": 1.0}}, "checkpoints activations already"),
    ],
)
def test_what_is_worth_trying(changes: dict[str, Any], found: tuple[int, ...] | str) -> None:
    answer = CheckpointModules().choices(facts(**changes))

    assert found in answer.reason if isinstance(answer, Skip) and isinstance(found, str) else answer == found


def test_what_is_offloaded_comes_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor that the model's forward saves goes to the host and back; the numbers are the same."""
    packed: list[torch.Tensor] = []
    original = torch.autograd.graph.save_on_cpu

    class Watched(original):
        def __init__(self, pin_memory: bool = False) -> None:
            super().__init__(pin_memory)
            pack, self.pack_hook = self.pack_hook, lambda tensor: (packed.append(tensor), pack(tensor))[1]

    monkeypatch.setattr(torch.autograd.graph, "save_on_cpu", Watched)
    torch.manual_seed(0)
    plain, _ = trained(Stack())
    OffloadActivations().install(True, host)
    host.roots.install({(f"{__name__}:Stack", 0): Wanted()})
    torch.manual_seed(0)
    got, _ = trained(Stack())

    assert packed
    assert all(torch.equal(one, other) for one, other in zip(got, plain, strict=True))


@pytest.mark.parametrize(
    ("changes", "offered"), [({}, False), (CUDA, True), ({**CUDA, "root": {"compiled": True}}, False)]
)
def test_only_a_device_has_a_host_to_offload_to(changes: dict[str, Any], offered: bool) -> None:
    assert isinstance(OffloadActivations().choices(facts(**changes)), Skip) is not offered
