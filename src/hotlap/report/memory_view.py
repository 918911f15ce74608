"""What `hotlap check --memory` prints: what holds the memory of a step, and the largest batch that fits."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotlap.records import Facts
from hotlap.records.views import LargestBatch, MemoryTable
from hotlap.report import numbers
from hotlap.report.inert import inert, secrets_of
from hotlap.report.lists import section

_MOST_SAVED = 10
_LARGEST = 3
_SMALL = 0.01  # of the peak: a part below this is not worth a line
_WHEN = {"backward": "when the backward begins", "update": "when the optimizer steps"}


def memory_view(table: MemoryTable, facts: Facts) -> RenderableType:
    """The answer, the parts of the peak, what is kept for the backward, and the largest batch."""
    table = inert(table, secrets_of(facts))
    lines: list[RenderableType] = [_headline(table), Text(), _parts(table)]
    if table.saved:
        title = f"Kept for the backward when it begins, by module: {numbers.size(table.saved_bytes)}"
        lines += section(title, [_saved(table)])
    if table.largest is not None:
        lines += section("Largest batch that fits", _largest(table.largest))
    return Group(*lines)


def _headline(table: MemoryTable) -> Text:
    of = "A training step" if table.of_a_step else "The run so far"
    where = "" if table.device == "cpu" else f" on {table.device}"
    text = Text.assemble((f"{of} holds at most {numbers.size(table.peak_bytes)}{where}", "bold"))
    rows = sorted(table.rows, key=lambda row: -row.size_bytes)[:_LARGEST]
    if rows and table.peak_bytes:
        parts = (f"{numbers.share(row.size_bytes / table.peak_bytes)} {row.name}" for row in rows)
        text.append(f": {'; '.join(parts)}")
    return text.append(f". {_batch(table.largest)}" if table.largest else ".")


def _batch(largest: LargestBatch) -> str:
    if largest.fits is None:
        return "No batch size was shown to fit."
    text = f"A batch of {numbers.count(largest.fits)} was run and fits"
    if largest.extrapolated:
        return f"{text}; by extrapolation, not run, up to about {numbers.count(largest.extrapolated)}."
    return f"{text}{'' if largest.why_not else ', and is about the largest'}."


def _parts(table: MemoryTable) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=True, header_style="dim")
    made.add_column(Text(f"what is held {_WHEN.get(table.moment, '')}".rstrip()))
    made.add_column(Text("bytes"), justify="right", no_wrap=True)
    made.add_column(Text("share"), justify="right", no_wrap=True)
    whole = table.peak_bytes or 1
    for row in table.rows:
        made.add_row(Text(row.name), Text(numbers.size(row.size_bytes)), Text(numbers.share(row.size_bytes / whole)))
        for name, size in row.parts:
            if size >= _SMALL * whole:
                made.add_row(Text(f"  {name}", style="dim"), Text(numbers.size(size), style="dim"), Text(""))
    what = "peak of a step" if table.of_a_step else "peak of the process"
    made.add_row(Text(what, style="bold"), Text(numbers.size(table.peak_bytes), style="bold"), Text(""))
    return made


def _saved(table: MemoryTable) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for justify in ("left", "right", "right"):
        made.add_column(justify=justify, no_wrap=True)
    shown, rest = table.saved[:_MOST_SAVED], table.saved[_MOST_SAVED:]
    rows = [*shown, *([(f"{len(rest)} more", sum(size for _, size in rest))] if rest else [])]
    for name, size in rows:
        share = numbers.share(size / table.saved_bytes) if table.saved_bytes else ""
        made.add_row(Text(name), Text(numbers.size(size)), Text(share))
    return made


def _largest(largest: LargestBatch) -> list[RenderableType]:
    room = f"{numbers.size(largest.room_bytes)}: {largest.room}, less 10 %"
    lines: list[RenderableType] = [Text(f"Room for {room}.")]
    if largest.trials:
        lines.append(Padding(_trials(largest), (0, 0, 0, 0)))
    if largest.per_sample_bytes:
        grown = f"A line through the trials: {numbers.size(largest.per_sample_bytes)} a sample"
        lines.append(Text(f"{grown}{_beyond(largest)}."))
    if largest.extrapolated and not largest.why_not:
        lines.append(Text("Larger ones would not have ended within the budget: --budget gives it more.", style="dim"))
    if largest.why_not:
        lines.append(Text(f"Not grown further: {largest.why_not}." if largest.trials else f"{largest.why_not}."))
    return lines


def _beyond(largest: LargestBatch) -> str:
    """How far the line is drawn beyond what was run."""
    if not largest.extrapolated:
        return ""
    text = f"; by it about {numbers.count(largest.extrapolated)} would fit, which was not run"
    if not largest.fits:
        return text
    return f"{text}: {numbers.count(largest.extrapolated / largest.fits)} times the largest that was"


def _trials(largest: LargestBatch) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    made.add_column(Text("batch"), justify="right", no_wrap=True)
    made.add_column(Text("peak"), justify="right", no_wrap=True)
    made.add_column(Text(""))
    for trial in largest.trials:
        peak = numbers.size(trial.peak_bytes) if trial.peak_bytes else "?"
        word = Text("fits", style="green") if trial.fits else Text(trial.reason, style="yellow")
        made.add_row(Text(numbers.count(trial.batch_size)), Text(peak), word)
    return made
