"""Compilation that the script asks for, left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from facts import facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.knobs.model.script_compile import ScriptCompile
from hotlap.records import Skip


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def test_what_the_script_compiles_runs_as_written(host: Host) -> None:
    """Under the names that compilation gives its parameters, and only until it is taken back."""
    net = torch.compile(nn.Linear(2, 2), backend="eager")
    ScriptCompile().install(False, host)
    net(torch.ones(1, 2)).sum().backward()

    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0
    assert list(net.state_dict()) == ["_orig_mod.weight", "_orig_mod.bias"]
    host.undo()
    net(torch.ones(1, 2)).sum().backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_only_for_scripts_that_compile() -> None:
    assert ScriptCompile().choices(facts(root={"compiled": True})) == (False,)
    assert isinstance(ScriptCompile().choices(facts()), Skip)
