"""Knobs that answer a call of the script's in its place, or that add to its arguments."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from facts import CUDA, facts
from torch import nn

from hotlap.inside import copies
from hotlap.inside.host import Host
from hotlap.knobs import knob_by_id
from hotlap.records import Skip

ASKED = {
    "forced-collection": "gc.collect",
    "empty-cache": "torch.cuda.empty_cache",
    "synchronize": "torch.cuda.synchronize",
    "checkpointing": "checkpoint",
}


@pytest.mark.parametrize("knob_id", ASKED)
def test_only_where_the_script_makes_the_call(knob_id: str) -> None:
    """Seen in the observed run, in its steps."""
    knob = knob_by_id(knob_id)

    assert knob.choices(facts(**CUDA, habits={ASKED[knob_id]: 1.0})) == (False,)
    assert isinstance(knob.choices(facts(**CUDA)), Skip)


def test_what_the_script_collects_waits_for_python(host: Host) -> None:
    """Garbage stays until Python collects by itself; a freeze still collects before it."""

    class Held:
        pass

    def cycle() -> int:
        one = Held()
        vars(one)["itself"] = one
        return id(one)

    def alive(number: int) -> bool:
        return any(type(held) is Held and id(held) == number for held in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        knob_by_id("forced-collection").install(False, host)
        kept = cycle()
        assert (gc.collect(), gc.collect(2), gc.collect(generation=0)) == (0, 0, 0)
        assert alive(kept)
        host.undo()
        gc.collect()
        assert not alive(kept)
    finally:
        gc.enable()


def test_device_calls_do_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every argument that the real ones take."""
    called: list[Any] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: called.append("empty"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: called.append(device))
    for knob_id in ("empty-cache", "synchronize"):
        knob_by_id(knob_id).install(False, host)
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    torch.cuda.synchronize(device="cuda:0")

    assert called == []
    compiler = {"__name__": "torch._inductor.runtime.benchmarking", "torch": torch}
    exec("torch.cuda.synchronize('its own')", compiler)  # it reads a clock next
    assert called == ["its own"]
    host.undo()
    torch.cuda.synchronize()
    assert called == ["its own", None]


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_checkpointed_runs_once(host: Host, reentrant: bool) -> None:
    """And its gradients are the same, dropout included."""
    runs: list[int] = []
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(x: torch.Tensor, *, scale: float) -> torch.Tensor:
        runs.append(1)
        return net(x) * scale

    def gradient() -> torch.Tensor:
        torch.manual_seed(1)
        net.zero_grad()
        x = torch.ones(2, 4, requires_grad=True)
        call = (lambda x: forward(x, scale=2.0)) if reentrant else forward
        more = {} if reentrant else {"scale": 2.0}
        torch.utils.checkpoint.checkpoint(call, x, use_reentrant=reentrant, **more).sum().backward()
        assert net[0].weight.grad is not None
        return net[0].weight.grad.clone()

    saved = gradient()
    knob_by_id("checkpointing").install(False, host)
    kept = gradient()

    assert len(runs) == 3
    assert torch.equal(saved, kept)


def test_checkpoint_sequential_comes_by_too(host: Host) -> None:
    runs: list[int] = []
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    net[0].register_forward_hook(lambda *_: runs.append(1))
    knob_by_id("checkpointing").install(False, host)
    x = torch.ones(1, 2, requires_grad=True)
    torch.utils.checkpoint.checkpoint_sequential(net, 2, x, use_reentrant=False).sum().backward()

    assert len(runs) == 1


def test_batches_are_sent_without_waiting(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the host to a device; what else `to` is asked for is none of its business."""
    seen: list[tuple[Any, Any]] = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *args, **kwargs: seen.append((args, kwargs)))
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, *args, **kwargs: seen.append((args, kwargs)))
    pinned: list[bool] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: bool(tensor[0] == 1))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(True) or tensor)
    knob_by_id("non-blocking-copies").install(True, host)
    batch, device = torch.zeros(2), torch.device("cuda", 1)
    for target in (device, "cuda", 0, "cpu", torch.float64, torch.device("cpu"), batch):
        batch.to(target)
    batch.to(device, non_blocking=False)
    batch.to(device, torch.float64)
    torch.zeros(2, device="meta").to(device)
    batch.cuda()
    batch.cuda(non_blocking=False)
    batch.cuda(0, False)

    sent = [kwargs.get("non_blocking") for _, kwargs in seen]
    assert sent == [True, True, True, None, None, None, None, False, None, None, True, False, None]
    assert len(pinned) == 4  # of those that are sent without waiting
    torch.ones(2).to(device)  # lies there already
    assert len(pinned) == 4


class Streams:
    """In the place of CUDA's streams: what was done, in order, and on which of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.now = "main"
        copies._side_stream.cache_clear()
        monkeypatch.setattr(torch.cuda._utils, "_get_device_index", lambda device, optional: 1)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(self, f"side of {device}"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(self, "main"))
        monkeypatch.setattr(torch.cuda, "stream", self.on)
        monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: True)
        monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *args, **kwargs: self.say("copy") or tensor)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: self.say(f"kept for {stream.name}"))

    def say(self, what: str) -> None:
        self.done.append(f"{self.now}: {what}")

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.now = self.now, stream.name
        yield
        self.now = before


@dataclass
class Stream:
    streams: Streams
    name: str

    def wait_stream(self, other: Stream) -> None:
        self.streams.done.append(f"{self.name}: waits for {other.name}")


def test_batches_are_sent_on_a_stream_that_the_training_waits_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stream for each device; what it brought is not used again before the training's stream has read it."""
    streams = Streams(monkeypatch)
    knob_by_id("non-blocking-copies").install("side-stream", host)
    batch = torch.zeros(2)
    assert batch.to("cuda") is batch
    batch.to(torch.device("cuda", 1))
    batch.to("cpu")

    once = ["side of 1: copy", "main: waits for side of 1", "main: kept for main"]
    assert streams.done == [*once, *once, "main: copy"]
    assert copies._side_stream.cache_info().misses == 1
    copies._side_stream.cache_clear()


def test_copies_only_to_a_device() -> None:
    knob = knob_by_id("non-blocking-copies")

    assert knob.choices(facts(**CUDA)) == (True, "side-stream")
    assert isinstance(knob.choices(facts(**CUDA, loader={"trains": False})), Skip)
    assert isinstance(knob.choices(facts(loader={"pin_memory": True})), Skip)
