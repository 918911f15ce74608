"""The knobs of DistributedDataParallel, on the real wrapper over a group of one process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from facts import CUDA, facts
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from hotlap.inside.host import Host
from hotlap.knobs import KNOBS, knob_by_id
from hotlap.records import Skip

DDP = [knob_id for knob_id in KNOBS if knob_id.startswith("ddp-")]
BUILT: dict[str, tuple[Any, str, Any]] = {
    "ddp-bucket-view": (True, "gradient_as_bucket_view", True),
    "ddp-static-graph": (True, "static_graph", True),
    "ddp-unused-parameters": (False, "find_unused_parameters", False),
    "ddp-bucket-size": (7, "bucket_bytes_cap", 7 * 1024 * 1024),
}


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def gradient(wrapper: DistributedDataParallel) -> torch.Tensor:
    for _ in range(2):
        wrapper.zero_grad()
        wrapper(torch.linspace(-1, 1, 8).reshape(2, 4)).pow(2).sum().backward()
    return next(wrapper.parameters()).grad.clone()  # type: ignore[union-attr]


@pytest.mark.parametrize("knob_id", BUILT)
def test_the_wrapper_is_built_so(host: Host, knob_id: str) -> None:
    """Whatever the script passes, and the gradients are the same."""
    value, attribute, wanted = BUILT[knob_id]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    plain = gradient(DistributedDataParallel(net, find_unused_parameters=True))
    knob_by_id(knob_id).install(value, host)
    wrapper = DistributedDataParallel(net, find_unused_parameters=knob_id == "ddp-unused-parameters")

    assert getattr(wrapper, attribute) == wanted
    assert torch.equal(gradient(wrapper), plain)
    host.undo()
    assert not DistributedDataParallel(net).gradient_as_bucket_view


def test_gradients_travel_in_bfloat16(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own hook, registered once the wrapper stands; gloo itself cannot send them."""
    hooks: list[Any] = []
    monkeypatch.setattr(DistributedDataParallel, "register_comm_hook", lambda *args: hooks.append(args))
    knob_by_id("ddp-bf16-gradients").install(True, host)
    wrapper = DistributedDataParallel(nn.Linear(4, 4))

    assert hooks == [(wrapper, None, bf16_compress_hook)]


@pytest.mark.parametrize("knob_id", DDP)
def test_only_for_several_processes(knob_id: str) -> None:
    wrapped = {"modules": {"DistributedDataParallel": 1, "Linear": 2}}

    assert not isinstance(knob_by_id(knob_id).choices(facts(**CUDA, world_size=2, root=wrapped)), Skip)
    assert isinstance(knob_by_id(knob_id).choices(facts(**CUDA, root=wrapped)), Skip)
    assert isinstance(knob_by_id(knob_id).choices(facts(**CUDA, world_size=2)), Skip)
