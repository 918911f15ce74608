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
from hotlap.records import Skip


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


@pytest.mark.parametrize("changes", [{"roots": ()}, {"root": {"compiled": True}}, {"machine": {"compiler": ""}}])
def test_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(Compile().choices(facts(**changes)), Skip)


def test_needs_no_compiler_on_cuda() -> None:
    assert Compile().choices(facts(**CUDA, machine={"compiler": ""})) == (True,)
