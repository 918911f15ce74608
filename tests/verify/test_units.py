"""By how much a script's own arithmetic rounds, which is what its noise arms are off by."""

from __future__ import annotations

from typing import Any

import pytest
from facts import CUDA, facts

from hotlap.judge import unit_of
from hotlap.verify.gates import BF16_UNIT, FLOAT32_UNIT, TF32_UNIT

TF32 = {"precision": {"cudnn_tf32": True}}


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({}, FLOAT32_UNIT),
        ({"precision": {"cudnn_tf32": True}}, FLOAT32_UNIT),  # there is no cuDNN on a CPU
        ({"precision": {"autocast": True}}, BF16_UNIT),
        ({"precision": {"matmul": "medium"}}, BF16_UNIT),
        ({"precision": {"matmul": "medium"}, "machine": {"flags": ("avx2",)}}, FLOAT32_UNIT),
        ({"root": {"dtypes": ("bfloat16",)}}, BF16_UNIT),
        (CUDA, FLOAT32_UNIT),
        ({**CUDA, **TF32}, TF32_UNIT),
        ({**CUDA, **TF32, "capability": 7.5}, FLOAT32_UNIT),  # Turing has no TF32
        ({**CUDA, "precision": {"matmul": "high"}, "root": {"modules": {"Linear": 3}}}, TF32_UNIT),
    ],
)
def test_a_scripts_own_rounding(changes: dict[str, Any], unit: float) -> None:
    """By what it asks for, and by what torch does unless it is asked."""
    assert unit_of(facts(**changes)) == unit
