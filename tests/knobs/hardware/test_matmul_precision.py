"""The precision of float32 products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from facts import CUDA, facts

from hotlap.inside.host import Host
from hotlap.knobs.hardware.matmul_precision import MatmulPrecision
from hotlap.records import Skip


def state() -> tuple[str, ...]:
    read = torch._C._get_fp32_precision_getter
    return (
        torch.get_float32_matmul_precision(),
        read("mkldnn", "matmul"),
        read("mkldnn", "conv"),
        read("mkldnn", "rnn"),
        read("cuda", "matmul"),
        read("cuda", "conv"),
    )


def test_sets_products_and_convolutions_and_nothing_else(host: Host) -> None:
    before = state()
    MatmulPrecision().install("medium", host)

    assert state()[:4] == ("medium", "bf16", "bf16", before[3])
    assert state()[5] == before[5]
    host.undo()
    assert state() == before


def test_high_leaves_convolutions_alone(host: Host) -> None:
    """cuDNN convolutions use TF32 as torch ships; only products need the switch."""
    before = state()
    MatmulPrecision().install("high", host)

    assert state()[0] == "high"
    assert state()[2] == before[2]


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({}, ("medium",)),
        (CUDA, ("high",)),
        ({"precision": {"matmul": "high"}}, ("medium",)),
        ({"roots": ()}, ("medium",)),
    ],
)
def test_offers_one_step_down(changes: dict[str, Any], values: tuple[str, ...]) -> None:
    assert MatmulPrecision().choices(facts(**changes)) == values


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": {"autocast": True}},
        {"machine": {"flags": ("avx2", "avx512f")}},
        {"root": {"dtypes": ("bfloat16",)}},
        {"precision": {"matmul": "medium"}},
        {"precision": {"matmul": "high"}, **CUDA},
    ],
)
def test_says_why_not(changes: dict[str, Any]) -> None:
    assert isinstance(MatmulPrecision().choices(facts(**changes)), Skip)
