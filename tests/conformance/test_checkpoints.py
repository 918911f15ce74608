"""Checkpoints under every knob: same keys, shapes and dtypes, to be gone on with in plain torch and back."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.inside.roots import Wanted
from hotlap.knobs import all_knobs
from hotlap.knobs.knob import Knob
from hotlap.records import Contract

KNOBS = [
    knob
    for knob in all_knobs()
    if knob.area in ("model", "optimizer")
    and knob.contract is not Contract.RECIPE  # another rule has a state of its own
]
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, amsgrad=True),
    "nadam": lambda parameters: torch.optim.NAdam(parameters, lr=0.01),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.01),
}


class Training:
    """A small training that can be saved and gone on with, under a knob or as written."""

    def __init__(self, optimizer: str, knob: Knob | None) -> None:
        self.host = Host(Journal(None), {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}})
        if knob is not None:
            knob.install(next(iter(knob.allowed)), self.host)
        self.host.roots.install({("torch.nn.modules.container:Sequential", 0): Wanted()})
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(144, 2)
        )
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())

    def train(self, steps: int) -> None:
        for step in range(steps):
            self.optimizer.zero_grad()
            self.net(torch.linspace(-1, 1, 384).reshape(2, 3, 8, 8) + step).pow(2).mean().backward()
            self.optimizer.step()

    def saved(self) -> bytes:
        buffer = io.BytesIO()
        torch.save({"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}, buffer)
        return buffer.getvalue()

    def load(self, saved: bytes) -> None:
        state = torch.load(io.BytesIO(saved), weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])


def description(value: Any) -> Any:
    """Keys, shapes and dtypes of a checkpoint, and every value that is no tensor."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, dict):
        return {key: description(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [description(item) for item in value]
    return value


def described(saved: bytes) -> Any:
    return description(torch.load(io.BytesIO(saved), weights_only=True))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(torch, "compile", lambda call: call)  # a real compilation takes a minute
    hosts: list[Host] = []

    def started(optimizer: str, knob: Knob | None = None) -> Training:
        while hosts:
            hosts.pop().undo()  # one host at a time, as in a process
        training = Training(optimizer, knob)
        hosts.append(training.host)
        return training

    yield started
    while hosts:
        hosts.pop().undo()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.id)
def test_a_checkpoint_goes_both_ways(knob: Knob, optimizer: str, start: Any) -> None:
    """Saved under the knob and gone on with in plain torch, and the other way round."""
    plain = start(optimizer)
    plain.train(3)
    from_plain = plain.saved()
    plain.train(2)
    wanted = [p.detach().clone() for p in plain.net.parameters()]
    tuned = start(optimizer, knob)
    tuned.train(3)
    from_tuned = tuned.saved()

    assert described(from_tuned) == described(from_plain)
    for saved, how in ((from_tuned, None), (from_plain, knob)):
        training = start(optimizer, how)
        training.load(saved)
        training.train(2)
        assert described(training.saved()) == described(plain.saved())
        for got, expected in zip(training.net.parameters(), wanted, strict=True):
            assert got.isfinite().all()
            if knob.unit <= 2.0**-23:  # how far a lower precision may lead is for the gates to say
                torch.testing.assert_close(got, expected, rtol=0.1, atol=0.02)
