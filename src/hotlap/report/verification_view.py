"""What `hotlap verify` prints: the two answers first, then what they rest on."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from hotlap.records import Verification
from hotlap.report import numbers, words
from hotlap.report.inert import inert_result
from hotlap.report.lists import gates, named, section

_FASTER = {True: "Faster", False: "Not proven faster", None: "No answer"}
_TONES = {0: "bold green", 3: "bold red", 1: "bold yellow"}


def verification_view(found: Verification) -> RenderableType:
    """About half a screen; no string is read as markup."""
    found = inert_result(found)
    lead = _lead(found)
    measured = f"{numbers.estimate(found.speedup)} per training step; " if found.speedup else ""
    headline = Text(f"{lead}: {measured}{words.LEARNING[found.verdict.word]}.")
    headline.stylize(_TONES[found.exit_code], 0, len(lead))
    facts = {
        "setup": str(found.setup),
        "decided by": found.reason,
        "at fault": ", ".join(found.verdict.guilty),
        "noise": f"gains below about {numbers.share(found.smallest_gain)} could not have been proven",
        "took": numbers.seconds(found.spent_s),
    }
    table = named({name: value for name, value in facts.items() if value})
    return Group(headline, Text(), table, *section("Learning", gates(found.verdict)))


def _lead(found: Verification) -> str:
    if found.same is False:
        return "Learning changed" if found.verdict.gate != "repetition" else "Does not repeat itself"
    if not found.for_speed:
        return "Repeats itself" if found.same else "No answer"
    return _FASTER[found.faster]
