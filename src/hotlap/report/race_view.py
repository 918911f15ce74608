"""What `hotlap race` prints: the live table of arms, and the answer. No string is ever read as markup."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hotlap.race.result import RaceResult, Row
from hotlap.report import numbers
from hotlap.report import race_words as words
from hotlap.report.inert import inert_result
from hotlap.report.lists import named, section

_TONES = {"Sooner": "bold green", "No measurable difference": "bold cyan", "Nothing to gain": "bold cyan"}


def arms_table(rows: Sequence[Row]) -> Table:
    """The arms while they run."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("arm", "stage", "rate", "metric", "step", ""):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in rows:
        rate = "" if row.lr is None else f"{row.lr:.3g}"
        value = "" if row.value is None else f"{row.value:.4g}"
        ratio = "" if row.step_ratio is None else f"{row.step_ratio:.2f}x"
        table.add_row(*map(Text, (row.name, row.stage, rate, value, ratio)), Text(row.said, style="dim"))
    return table


def race_summary(result: RaceResult) -> RenderableType:
    """The end of a race: the answer first, then what it rests on."""
    result = inert_result(result)
    headline = words.lead(result)
    text = Text(f"{headline}: {words.body(result)}")
    text.stylize(_TONES.get(headline, "bold yellow"), 0, len(headline))
    parts: list[RenderableType] = [text]
    parts += [Text(line) for line in (words.effect(result), words.advice(result)) if line]
    parts += section("Finals", [_finalists(result)] if result.finalists else [])
    parts += section("Screened", [_screened(result)] if result.screened else [])
    facts = {
        "goals": words.goals(result),
        "metric": result.metric.words,
        "race": f"{result.shape}, {result.runs} runs, {numbers.seconds(result.spent_s)}"
        f" (forecast {numbers.seconds(result.forecast_s)})",
    }
    parts += [Text(), named(facts)]
    parts += section("Notes", [Text(note) for note in result.notes])
    return Group(*parts)


def _finalists(result: RaceResult) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=16)
    for one in result.finalists:
        table.add_row(Text(one.name, style="green" if one.name == result.winner else ""), Text(words.finals(one)))
    return table


def _screened(result: RaceResult) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in result.screened:
        cells = (one.words, words.tried(one), words.paces(one))
        table.add_row(*map(Text, cells), Text(one.out or one.best, style="dim"))
    return table
