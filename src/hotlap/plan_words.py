"""What a plan says of itself at its head, for the people who read it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hotlap.records import Contract, Goal

if TYPE_CHECKING:
    from hotlap.plan import Gain, Header, Plan

_WISHED = {Goal.SPEED: "made the script faster", Goal.MEMORY: "saved memory at a bearable cost in time"}


def comments(plan: Plan) -> list[str]:
    """The lines that the file begins with."""
    header = plan.header
    as_typed = header.argv or (header.script,)
    launch = "" if as_typed[0] == "-m" or as_typed[0].endswith(".py") else "-- "
    allow = "--allow recipe " if any(s.contract is Contract.RECIPE for s in plan.settings) else ""
    gain, saving, verdict = header.speedup, header.saving, header.verdict
    faster = "faster" if gain and gain.low > 1 else "as fast as written"
    found = f"{_memory(saving)}. " if saving else ""
    found += f"{gain.value:.2f}x {faster} per training step ({gain.low:.2f}x to {gain.high:.2f}x). " if gain else ""
    found += f"Learning: {verdict.word.value}. " if verdict else ""
    advice = "To leave a setting out, delete its [[settings]] block. The numbers are those of the whole plan."
    return [
        f"The plan that hotlap made for {header.script}. {found}".rstrip(),
        *_price(header),
        "",
        f"    hotlap run {allow}{launch}{shlex.join(as_typed)}",
        "",
        advice if plan.settings else f"No setting: nothing tried {_WISHED[header.goal]} and kept its learning.",
    ]


def _memory(saving: Gain) -> str:
    sign, word = (1, "less") if saving.value >= 1.0 else (-1, "more")
    value, *ends = (sign * (1 - 1 / ratio) for ratio in (saving.value, saving.low, saving.high))
    return f"{value:.0%} {word} memory at the peak of a step ({min(ends):.0%} to {max(ends):.0%})"


def _price(header: Header) -> list[str]:
    """What was asked for whatever it costs, and what it does cost."""
    if not header.asked:
        return []
    alone = header.asked_speedup
    cost = f"{alone.value:.2f}x as fast ({alone.low:.2f}x to {alone.high:.2f}x)" if alone else "its price not measured"
    cost += f", {_memory(header.asked_saving)}" if header.asked_saving else ""
    return [f"Asked for, whatever it costs: {', '.join(header.asked)}; alone, {cost}."]
