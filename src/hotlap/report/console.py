"""What `hotlap tune` and `hotlap check` print. No string is ever read as markup: text goes in as `Text`."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotlap.records import Phases, Result, Word
from hotlap.report import numbers, words
from hotlap.report.check_view import check_view
from hotlap.report.inert import inert_result
from hotlap.report.lists import findings, folded, section, skipped
from hotlap.report.steps import StepBars, phase_table

__all__ = ["check_view", "summary"]

_TONES = {
    "Faster": "bold green",
    "Nothing to gain here": "bold cyan",
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
        parts += [Text(), _settings(result)]
    parts += [Text(), _facts(result)]
    parts += section("Where a step's time goes", _anatomy(result.baseline, result.tuned))
    parts += section("Learning", _gates(result))
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


def _settings(result: Result) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_footer=bool(result.speedup))
    total = numbers.estimate(result.speedup) if result.speedup else ""
    table.add_column(Text("setting"), Text("all together, per step"), ratio=1)
    table.add_column(Text("promise"), Text(""))
    table.add_column(Text("own share"), Text(total), footer_style="bold", min_width=13)
    for kept in result.kept:
        name = Text(words.setting(kept.knob, kept.value), style="green")
        about = Padding(Text(words.describe(kept.knob), style="dim"), (0, 0, 0, 2))
        table.add_row(Group(name, about), Text(kept.contract.value), Text(words.own_share(kept)))
    return table


def _facts(result: Result) -> Table:
    rows = {
        "learning": words.verdict(result) if result.verdict else "",
        "by promise": "\n".join(words.level(level, gain) for level, gain in result.levels.items()),
        "memory": words.memory(result),
        "paid back": words.payback(result),
        "noise": "" if words.is_noisy(result) else words.noise(result),
        "evaluation": f"{numbers.share(result.evaluation_share)} of the time, part of no step"
        if result.evaluation_share
        else "",
        "machine": words.ceilings(result.ceiling),
        "tuning took": numbers.seconds(result.tuning_s),
    }
    return _pairs({name: value for name, value in rows.items() if value})


def _pairs(rows: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def _anatomy(baseline: Phases, tuned: Phases | None) -> list[RenderableType]:
    steps = {"as written": baseline, **({"tuned": tuned} if tuned else {})}
    return [StepBars(steps), Text(), phase_table(steps)]


def _gates(result: Result) -> list[RenderableType]:
    if not result.verdict:
        return []
    lines: list[RenderableType] = []
    for gate in result.verdict.gates:
        text = Text.assemble((gate.name, "bold"), ": ", (gate.word.value, _tone(gate.word)), f", {gate.reason}")
        where = [f"first at step {numbers.count(gate.step)}"] if gate.step is not None else []
        where += [f"in {gate.parameter}"] if gate.parameter else []
        where += [f"gap {numbers.small(gate.gap)}"] if gate.gap is not None else []
        where += [f"noise allows {numbers.small(gate.band)}"] if gate.band is not None else []
        lines.append(text.append(f" ({', '.join(where)})" if where else ""))
    return lines


def _tone(word: Word) -> str:
    if word.may_enter_plan:
        return "green"
    return "red" if word is Word.CHANGED else "yellow"


def _rejected(result: Result) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for rejected in result.rejected:
        measured = words.evidence(rejected)
        text = Text(str(rejected.setup)).append(f"  {rejected.reason}", style="dim")
        lines.append(text.append(f"  {measured}") if measured else text)
    return folded(lines, "setup")
