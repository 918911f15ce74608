"""How far a step is from the machine's limits, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from results import facts, result

from hotlap.records import Phases
from hotlap.report.roofline import distance, roofline

CEILING = {"matmul_flops": 1e11, "matmul_bf16_flops": 4e11}


@pytest.mark.parametrize(("narrow", "expected"), [(False, 0.2), (True, 0.05)])
def test_the_share_that_arithmetic_needs(narrow: bool, expected: float) -> None:
    """A GFLOP at 100 GFLOP/s in a step of 50 ms."""
    found = distance(facts(flops_per_step=10**9), Phases(0.05, {}), CEILING, narrow=narrow)

    assert found == pytest.approx(expected)


def test_what_was_not_counted_or_measured_is_not_told() -> None:
    """Rather nothing than a guess."""
    assert roofline(replace(result(), facts=facts(flops_per_step=None), ceiling=CEILING)) == ""
    assert roofline(replace(result(), facts=facts(flops_per_step=10**9), ceiling={})) == ""


def test_before_and_after() -> None:
    """Lower precision is held against its own limit."""
    counted = replace(result(), facts=facts(flops_per_step=10**9), ceiling=CEILING)
    text = roofline(counted)

    assert text.startswith("1.00 GFLOP a step; as large matrix products they would take ")
    assert "as written" in text
    assert text.endswith("tuned (bfloat16)")
