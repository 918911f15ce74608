"""Titled lists of lines for the terminal, cut where they would fill more than their part of a screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotlap.records import Finding, Skip, Status, Value, Verdict, Word
from hotlap.report import numbers, words
from hotlap.report.inert import inert

Choices = Mapping[str, "tuple[Value, ...] | Skip"]
"""Of each knob, the values worth trying or why there is none."""
MOST_ROWS = 10  # of each list; the rest is in the report


def section(title: str, lines: Iterable[RenderableType]) -> list[RenderableType]:
    """A title and its lines, set in; nothing when there are none."""
    lines = list(lines)
    if not lines:
        return []
    return [Text(), Text(title, style="bold"), *(Padding(line, (0, 0, 0, 2)) for line in lines)]


def findings(found: Iterable[Finding]) -> list[RenderableType]:
    """What failed or is worth knowing, with the time it wastes."""
    lines: list[RenderableType] = []
    for finding in found:
        if finding.status not in (Status.FAIL, Status.INFORMATIVE):
            continue
        text = Text.assemble((finding.headline, "bold" if finding.status is Status.FAIL else ""))
        if finding.wasted:
            text.append(f": {numbers.estimate(finding.wasted)}")
        lines.append(text.append(f"\n  {finding.advice}", style="dim") if finding.advice else text)
    return folded(lines, "finding")


def skipped(reasons: dict[str, str]) -> list[RenderableType]:
    """One line for each reason, cut where the terminal ends."""
    lines: list[RenderableType] = [
        Text(", ".join(knobs), no_wrap=True, overflow="ellipsis").append(f"  {reason}", style="dim")
        for reason, knobs in words.skipped_by_reason(reasons).items()
    ]
    return folded(lines, "reason")


def possible(choices: Choices) -> list[RenderableType]:
    """The knobs that could be tried, with their values where there is more to choose than on or off."""
    lines: list[RenderableType] = []
    for knob, values in choices.items():
        if isinstance(values, Skip):
            continue
        text = Text(knob, style="green")
        if values != (True,):
            text.append(f" = {' | '.join(str(inert(value)) for value in values)}")
        about = words.describe(knob)
        lines.append(text.append(f"  {about}", style="dim") if about else text)
    return folded(lines, "knob")


def folded(lines: list[RenderableType], what: str) -> list[RenderableType]:
    if len(lines) <= MOST_ROWS:
        return lines
    rest = len(lines) - MOST_ROWS
    return [*lines[:MOST_ROWS], Text(f"and {rest} more {what}{'' if rest == 1 else 's'} in the report", style="dim")]


def named(rows: Mapping[str, str]) -> Table:
    """Names and what there is to say of them."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def gates(verdict: Verdict) -> list[RenderableType]:
    """One line for each gate of a verdict."""
    lines: list[RenderableType] = []
    for gate in verdict.gates:
        where = words.gate_numbers(gate)
        parts = (gate.name, "bold"), ": ", (gate.word.value, _tone(gate.word)), f" ({where})" if where else ""
        lines.append(Text.assemble(*parts, f", {gate.reason}", no_wrap=True, overflow="ellipsis"))
    return lines


def _tone(word: Word) -> str:
    if word.may_enter_plan:
        return "green"
    return "red" if word is Word.CHANGED else "yellow"


def list_view(everything: Mapping[str, Sequence[Mapping[str, Any]]]) -> RenderableType:
    """Every knob with its area and promise, then every audit with its area, each with what it does."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for wraps in (False, False, False, True):
        table.add_column(no_wrap=not wraps)
    for title, rows in everything.items():
        table.add_row(Text(title.capitalize(), style="bold"))
        for row in rows:
            name = Text(row["id"], style="green")
            about = Text(row["area"], style="dim"), Text(row.get("contract", ""), style="dim")
            table.add_row(name, *about, Text(row["summary"]))
    return table
