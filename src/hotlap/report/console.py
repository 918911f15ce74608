"""What `hotlap tune` and `hotlap check` print. No string is ever read as markup: text goes in as `Text`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotlap.records import Phases, Result
from hotlap.report import asked_words, memory_words, numbers, words
from hotlap.report.check_view import check_view
from hotlap.report.inert import inert_result
from hotlap.report.lists import findings, folded, gates, named, section, skipped
from hotlap.report.roofline import roofline
from hotlap.report.steps import StepBars, phase_table

__all__ = ["check_view", "summary"]

_TONES = {
    "Faster": "bold green",
    "Less memory": "bold green",
    "Nothing to gain here": "bold cyan",
    "As asked": "bold cyan",
    "Slower": "bold red",
    "Learning changed": "bold red",
}


def summary(result: Result) -> RenderableType:
    """The end of a tune: the answer first, then what it rests on; about a screen."""
    result = inert_result(result)
    parts = [_headline(result)]
    if words.is_noisy(result):
        parts.append(Text(words.noise(result), style="yellow"))
    if result.kept:
        parts += [Text(), *_settings(result)]
    parts += [Text(), _facts(result)]
    parts += section("Where a step's time goes", _anatomy(result.baseline, result.tuned))
    parts += section("Learning", gates(result.verdict) if result.verdict else [])
    parts += section("Findings", findings(result.findings))
    parts += section("Not in the plan", _rejected(result))
    parts += section("Not tried", skipped(result.skipped))
    parts += section("Notes", [Text(note) for note in result.notes])
    return Group(*parts)


def _headline(result: Result) -> RenderableType:
    sentence, lead = words.headline(result), words.lead(result)
    text = Text(sentence)
    text.stylize(_TONES.get(lead, "bold yellow"), 0, len(lead))
    return text


def _settings(result: Result) -> list[RenderableType]:
    """Two lines for each setting: name, promise and own share; what it does."""
    rows = [(words.setting(k.knob, k.value), k.contract.value, words.own_share(k, result.goal)) for k in result.kept]
    rows = [("setting", "promise", "own share"), *rows]
    rows.append(("all together, per step", "", words.together(result)))
    names, promises = (min(max(len(row[place]) for row in rows), 40) for place in (0, 1))
    about = ["", *(words.describe(kept.knob) for kept in result.kept), ""]
    lines: list[RenderableType] = []
    for place, (name, promise, share) in enumerate(rows):
        bold = "bold" if place in (0, len(rows) - 1) else ""
        text = Text(f"{name:<{names}}  ", style=bold or "green")
        lines.append(text.append(f"{promise:<{promises}}  {share}", style=bold or "default"))
        lines += [Padding(Text(about[place], style="dim"), (0, 0, 0, 2))] if about[place] else []
    return lines


def _facts(result: Result) -> Table:
    rows = {
        "learning": words.verdict(result) if result.verdict else "",
        "by promise": "; ".join(words.level(level, gain) for level, gain in result.levels.items()),
        "on your word": asked_words.told(result),
        "memory": words.memory(result),
        "largest batch": memory_words.largest(result),
        "paid back": words.payback(result),
        "noise": "" if words.is_noisy(result) else words.noise(result),
        "evaluation": f"{numbers.share(result.evaluation_share)} of the time, part of no step"
        if result.evaluation_share
        else "",
        "at most": words.bounds(result.bounds, result.pairs),
        "script asks": words.prices(result.prices),
        "machine": words.ceilings(result.ceiling),
        "roofline": roofline(result),
        "tuning took": numbers.seconds(result.tuning_s),
    }
    return named({name: value for name, value in rows.items() if value})


def _anatomy(baseline: Phases, tuned: Phases | None) -> list[RenderableType]:
    steps = {"as written": baseline, **({"tuned": tuned} if tuned else {})}
    return [StepBars(steps), phase_table(steps)]


def _rejected(result: Result) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for rejected in result.rejected:
        measured = words.evidence(rejected)
        text = Text(str(rejected.setup)).append(f"  {measured}" if measured else "")
        lines.append(text.append(f"  {rejected.reason}", style="dim"))
    return folded(lines, "setup")
