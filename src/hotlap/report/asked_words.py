"""What the user asked for whatever it costs: its price, and what the rest of the plan brings."""

from __future__ import annotations

from hotlap.records import Estimate, Goal, Result
from hotlap.report import memory_words, numbers


def told(result: Result) -> str:
    """In a sentence without its end; "" when nothing was asked for."""
    if not result.asked.settings:
        return ""
    for_memory = result.goal is Goal.MEMORY

    def measured(saving: Estimate | None, speedup: Estimate | None) -> str:
        if for_memory:
            return memory_words.both(saving, speedup)
        return numbers.estimate(speedup) if speedup else ""

    alone = measured(result.asked_saving, result.asked_speedup)
    rest = measured(result.added_saving, result.added_speedup)
    price = f"the price of {result.asked} was not measured"
    if alone:
        price = f"{result.asked} alone {'takes' if for_memory else 'is'} {alone}"
    gained = "to save memory" if for_memory else "faster"
    return f"{price}, and {f'the rest {rest} on top' if rest else f'nothing was proven {gained} beside it'}"
