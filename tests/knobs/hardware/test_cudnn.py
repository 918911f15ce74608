"""cuDNN's two switches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from facts import CUDA, facts

from hotlap.inside.host import Host
from hotlap.knobs.hardware.cudnn_benchmark import CudnnBenchmark
from hotlap.knobs.hardware.cudnn_deterministic import CudnnDeterministic
from hotlap.records import Skip


def step_once() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.sum().backward()
    torch.optim.SGD([weight], lr=0.1).step()


def flags() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, cudnn.conv.fp32_precision, cudnn.fp32_precision


def test_benchmark_is_on_from_the_start_and_holds(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = flags()
    CudnnBenchmark().install(True, host)
    assert flags() == (True, *before[1:])

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # as a script may
    step_once()
    assert flags() == (True, *before[1:])
    host.undo()
    assert flags() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "there is no CUDA device, and cuDNN is for those"),
        (
            {**CUDA, "precision": {"cudnn_deterministic": True, "cudnn_benchmark": True}},
            "the script asks for deterministic algorithms, and that wish comes first",
        ),
        ({**CUDA, "precision": {"cudnn_benchmark": True}}, "the script already switches it on"),
        ({**CUDA, "root": {"modules": {"Linear": 2}}}, "the model has no convolution"),
    ],
)
def test_benchmark_says_why_not(changes: dict[str, Any], reason: str) -> None:
    assert CudnnBenchmark().choices(facts(**changes)) == Skip(reason)


def test_determinism_is_never_taken_off_by_itself() -> None:
    """It is the user's wish: the price is measured, and only --set applies it."""
    assert CudnnDeterministic.suggested_only
    assert CudnnDeterministic().choices(facts(**CUDA, precision={"cudnn_deterministic": True})) == (False,)


def test_determinism_is_taken_off_after_the_script_set_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    CudnnDeterministic().install(False, host)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    before = flags()

    step_once()
    assert flags() == (before[0], False, *before[2:])
    host.undo()
    assert flags() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": {"cudnn_deterministic": True}},
        {**CUDA},
        {**CUDA, "precision": {"cudnn_deterministic": True, "deterministic_algorithms": True}},
    ],
)
def test_determinism_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(CudnnDeterministic().choices(facts(**changes)), Skip)
