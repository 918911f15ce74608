"""Mixed precision."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from facts import CUDA, facts
from torch import nn

from hotlap.inside.host import Host
from hotlap.inside.roots import Wanted
from hotlap.knobs.model.autocast_bf16 import AutocastBf16
from hotlap.records import Skip


class Pair(NamedTuple):
    first: torch.Tensor
    second: Any


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.dtypes: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> Any:
        out = self.layer(x)
        self.dtypes.append(out.dtype)
        return {"out": out, "nest": [(out, 3)], "pair": Pair(out, None), "text": "as it was"}


def test_forward_is_narrow_and_its_outputs_wide(host: Host) -> None:
    AutocastBf16().install(True, host)
    host.roots.install({(f"{__name__}:Net", 0): Wanted()})
    net = Net()
    out = net(torch.randn(2, 4))

    assert net.dtypes == [torch.bfloat16]
    tensors = [out["out"], out["nest"][0][0], out["pair"].first]
    assert [t.dtype for t in tensors] == [torch.float32] * 3
    assert isinstance(out["pair"], Pair)
    assert out["text"] == "as it was"
    out["out"].sum().backward()
    assert net.layer.weight.grad is not None
    assert net.layer.weight.grad.dtype == torch.float32

    with torch.no_grad():
        assert net(torch.randn(2, 4))["out"].dtype == torch.float32
    assert net.dtypes == [torch.bfloat16, torch.float32]  # evaluation runs as written


@pytest.mark.parametrize(
    "changes",
    [
        {"roots": ()},
        {"precision": {"autocast": True}},
        {"root": {"dtypes": ("bfloat16",)}},
        {"machine": {"flags": ("avx2", "avx512f")}},
    ],
)
def test_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(AutocastBf16().choices(facts(**changes)), Skip)


def test_needs_no_flag_of_the_processor_on_cuda() -> None:
    assert AutocastBf16().choices(facts(**CUDA, machine={"flags": ()})) == (True,)


def test_a_gpu_that_computes_it_by_detours_is_left_alone() -> None:
    assert isinstance(AutocastBf16().choices(facts(device="Tesla T4", capability=7.5)), Skip)
