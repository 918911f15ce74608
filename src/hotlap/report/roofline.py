"""How far a step is from what the machine could do at best."""

from __future__ import annotations

from collections.abc import Mapping

from hotlap.records import Contract, Facts, Phases, Result
from hotlap.report import numbers


def distance(facts: Facts, step: Phases, ceiling: Mapping[str, float], *, narrow: bool) -> float | None:
    """Share of the step that its arithmetic would take as large matrix products; None when that is not known.

    Args:
        facts: Of the script, with the operations of its step.
        step: Mean time of a step.
        ceiling: Measured limits of the machine.
        narrow: The products are in bfloat16.
    """
    rate = ceiling.get("matmul_bf16_flops" if narrow else "matmul_flops", 0.0)
    if not facts.flops_per_step or not rate or not step.total_s:
        return None
    return facts.flops_per_step / rate / step.total_s


def roofline(result: Result) -> str:
    """For the summary of a tune; "" when the operations were not counted or the machine not measured."""
    narrow = result.facts.precision.autocast
    written = distance(result.facts, result.baseline, result.ceiling, narrow=narrow)
    if written is None:
        return ""
    text = f"{observed(result.facts, result.baseline, result.ceiling)} as written"
    if result.tuned is None:
        return text
    narrow = narrow or any(kept.contract is Contract.REDUCED for kept in result.kept)
    tuned = distance(result.facts, result.tuned, result.ceiling, narrow=narrow)
    return f"{text}, {numbers.share(tuned)} tuned{' (bfloat16)' if narrow else ''}" if tuned else text


def observed(facts: Facts, step: Phases, ceiling: Mapping[str, float]) -> str:
    """For one observed run; "" when it is not known."""
    reached = distance(facts, step, ceiling, narrow=facts.precision.autocast)
    if reached is None or facts.flops_per_step is None:
        return ""
    return (
        f"{numbers.rate(facts.flops_per_step, 'FLOP')} a step; as large matrix products they would take "
        f"{numbers.share(reached)} of its time"
    )
