"""The memory layout of images."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from facts import facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.inside.roots import Wanted
from hotlap.knobs.model.channels_last import ChannelsLast
from hotlap.knobs.optimizer.fused_update import FusedUpdate
from hotlap.records import Skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 4)
        self.seen: list[Any] = []

    def forward(self, image: torch.Tensor, extra: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        self.seen.append((image, extra))
        return self.head(self.conv(image).mean((2, 3)))


def lies_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def built(host: Host) -> Net:
    ChannelsLast().install(True, host)
    host.roots.install({(f"{__name__}:Net", 0): Wanted()})
    return Net()


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(torch.linspace(-1, 1, 2 * 3 * 36).reshape(2, 3, 6, 6)).pow(2).sum().backward()
    optimizer.step()


def test_converts_weights_and_inputs_of_training_calls(host: Host) -> None:
    net = built(host)
    image, label = torch.randn(2, 3, 6, 6), torch.ones(2, 3, 6, 6, dtype=torch.long)
    assert not lies_channels_last(net.conv.weight)

    net(image, extra={"mask": image, "label": label})
    seen, extra = net.seen[0]
    assert lies_channels_last(net.conv.weight)
    assert lies_channels_last(seen)
    assert lies_channels_last(extra["mask"])
    assert extra["label"] is label
    assert torch.equal(seen, image)
    with torch.no_grad():
        net(image)
    assert net.seen[1][0] is image  # evaluation runs as written

    host.undo()
    assert net.conv.weight.is_contiguous()


def test_the_weights_stay_the_same_parameters(host: Host) -> None:
    """The optimizer holds the parameters by identity."""
    net = built(host)
    before = list(net.parameters())
    net(torch.randn(2, 3, 6, 6))

    assert all(one is other for one, other in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adagrad(p, lr=0.1),  # its state is there before the layout changes
        lambda p: torch.optim.AdamW(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_learns_the_same_with_state_from_before(host: Host, make: Any, fused: bool) -> None:
    """A checkpoint in the old layout is loaded early and late; the CPU's fused kernels would mix up its elements."""
    torch.manual_seed(0)
    plain = Net()
    other = make(plain.parameters())
    step(plain, other)
    weights, early = copy.deepcopy(plain.state_dict()), copy.deepcopy(other.state_dict())
    for _ in range(2):
        step(plain, other)
    other.load_state_dict(copy.deepcopy(early))
    step(plain, other)

    if fused:
        FusedUpdate().install(True, host)
    net = built(host)
    optimizer = make(net.parameters())
    net.load_state_dict(weights)
    optimizer.load_state_dict(copy.deepcopy(early))
    for _ in range(2):
        step(net, optimizer)
    optimizer.load_state_dict(copy.deepcopy(early))
    step(net, optimizer)

    assert lies_channels_last(net.conv.weight)
    for one, two in zip(plain.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"root": {"modules": {"Linear": 3}}}, "no model of the script has a Conv2d"),
        ({"roots": ()}, "no model of the script has a Conv2d"),
        (
            {"root": {"modules": {"Conv2d": 1, "Conv3d": 1}}},
            "a model has a Conv3d, whose weights have no such layout",
        ),
    ],
)
def test_says_why_not(changes: dict[str, Any], reason: str) -> None:
    assert ChannelsLast().choices(facts(**changes)) == Skip(reason)


def test_safetensors_saves_the_weights_as_ever(host: Host, tmp_path: Path) -> None:
    """It refuses tensors that are not packed."""
    net = built(host)
    net(torch.randn(2, 3, 6, 6))
    assert lies_channels_last(net.conv.weight)
    from safetensors import torch as safetensors

    safetensors.save_file(net.state_dict(), tmp_path / "net.safetensors")
    for saved in (
        safetensors.load_file(tmp_path / "net.safetensors"),
        safetensors.load(safetensors.save(net.state_dict())),
    ):
        assert torch.equal(saved["conv.weight"], net.conv.weight)
