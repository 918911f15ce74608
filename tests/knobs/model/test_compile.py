"""torch.compile on the roots."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from facts import CUDA, facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.inside.roots import Wanted
from hotlap.knobs.model.compile import Compile
from hotlap.records import Signature, Skip

MANY = {"signatures": tuple(Signature(((8, n),), ("int64",), True, True) for n in range(1, 6))}


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Graphs are captured and run as they are, which takes no compiler."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("bare", [True, False])
def test_compiles_a_root_even_when_it_is_a_sequential(host: Host, bare: bool) -> None:
    """`Module.compile()` would be silent and do nothing there."""
    Compile().install(True, host)
    host.roots.install({("torch.nn.modules.container:Sequential", 0): Wanted()})
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = net if bare else nn.Sequential(net)
    names = list(net.state_dict())

    out = model(torch.randn(2, 4))
    out.sum().backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert list(net.state_dict()) == names
    assert net[0].weight.grad is not None
    with torch.no_grad():
        net(torch.randn(3, 4))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # evaluation runs as written


def test_a_root_without_a_graph_is_reported(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    class Opaque(nn.Module):
        @torch.compiler.disable
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clone().requires_grad_()

    Compile().install(True, host)
    host.roots.install({(f"{__name__}:{Opaque.__qualname__}", 0): Wanted()})
    Opaque()(torch.randn(2))

    assert "compile could not be applied" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"roots": ()},
        {"root": {"compiled": True}},
        {"machine": {"compiler": ""}},
        {"differentiates_twice": True},
    ],
)
def test_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(Compile().choices(facts(**changes)), Skip)


def test_needs_no_compiler_on_cuda() -> None:
    assert not isinstance(Compile().choices(facts(**CUDA, machine={"compiler": ""})), Skip)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x).relu()


class Stack(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList(Block() for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # Dynamo's own, hidden outside of tests
def test_one_block_is_compiled_for_all(host: Host) -> None:
    """In training; evaluation runs as written, and the gradients are the same."""
    torch.manual_seed(0)
    net = Stack(6)
    x = torch.randn(2, 4)
    net(x).sum().backward()
    plain = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    Compile().install("blocks", host)
    host.roots.install({(f"{__name__}:Stack", 0): Wanted()})
    net = copy_weights(Stack(6), net)
    net(x).sum().backward()

    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch.testing.assert_close([p.grad for p in net.parameters()], plain)
    with torch.no_grad():
        net(torch.randn(3, 4))
    net.layers[0](torch.randn(5, 4))  # not through the root
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def copy_weights(net: Stack, other: Stack) -> Stack:
    net.load_state_dict(other.state_dict())
    return net


def test_a_model_that_repeats_nothing_has_no_blocks(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    Compile().install("blocks", host)
    host.roots.install({(f"{__name__}:Stack", 0): Wanted()})
    Stack(2)(torch.randn(2, 4))

    assert "Stack repeats no block" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({}, (True,)),
        ({"root": {"blocks": 6}}, (True, "blocks")),
        (CUDA, ("reduce-overhead", True, "max-autotune-no-cudagraphs")),
        ({**CUDA, "root": MANY}, ("dynamic", "reduce-overhead", "max-autotune-no-cudagraphs")),
        ({"root": MANY}, ("dynamic",)),
    ],
)
def test_what_is_worth_compiling_how(changes: dict[str, Any], values: tuple[Any, ...]) -> None:
    """Many shapes at once, blocks where they are repeated; on CUDA graphs first, and last what takes minutes."""
    assert Compile().choices(facts(**changes)) == values


@pytest.mark.parametrize("value", [True, "blocks"])
def test_a_hook_that_the_script_registers_later_is_called(host: Host, value: Any) -> None:
    """Dynamo would not notice by itself, and a penalty on activations would be none."""
    Compile().install(value, host)
    host.roots.install({(f"{__name__}:Stack", 0): Wanted()})
    net, seen = Stack(4), list[torch.Tensor]()
    net(torch.randn(2, 4)).sum().backward()
    handle = net.layers[1].inner.register_forward_hook(lambda module, args, out: seen.append(out.pow(2).mean()))
    net(torch.randn(2, 4)).sum().backward()
    handle.remove()
    net(torch.randn(2, 4)).sum().backward()

    assert len(seen) == 1
    assert seen[0].requires_grad


def test_a_second_backward_through_a_graph_finds_its_tensors(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As scripts do that begin with another loss at a later step."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile.func, backend="aot_eager"))
    Compile().install(True, host)
    host.roots.install({(f"{__name__}:Stack", 0): Wanted()})
    net = Stack(2)
    net(torch.randn(2, 4)).pow(2).sum().backward()
    net.zero_grad()
    loss = net(torch.randn(2, 4)).pow(2).sum()
    loss.backward(retain_graph=True)
    once = net.first.weight.grad.clone()
    loss.backward()

    torch.testing.assert_close(net.first.weight.grad, 2 * once)


def test_answers_of_a_replayed_graph_are_the_scripts_to_keep(host: Host) -> None:
    """Their memory is written anew by the next call."""
    Compile().install("reduce-overhead", host)
    host.roots.install({(f"{__name__}:Handing", 0): Wanted()})
    net = Handing()
    out = net(torch.ones(2))

    assert out.data_ptr() != net.kept.data_ptr()
    assert torch.equal(out, net.kept)


class Handing(nn.Module):
    """Hands out memory of its own, as a replayed graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.kept
