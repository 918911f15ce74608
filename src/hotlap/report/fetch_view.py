"""What `hotlap check --data` prints: where fetching a batch spends its time, the most expensive first."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hotlap.records import Facts, Skip
from hotlap.records.views import FetchRow, FetchTable
from hotlap.report import numbers
from hotlap.report.inert import inert, secrets_of
from hotlap.report.lists import MOST_ROWS, Choices, possible, section, skipped

_SMALL = 0.01  # of a batch: a row below this is folded
_LONG = 48  # characters of a statement within a sentence
_WORTH_SAYING = 0.05
_DRAGS = 1.5  # followed batches that take so many times as long may misplace what they show


def fetch_view(table: FetchTable, facts: Facts, choices: Choices) -> RenderableType:
    """The table with the answer before it, and what could be done about it below.

    Args:
        table: The fetching.
        facts: Of the observed run.
        choices: For every knob of the data area, the values worth trying or why there is none.
    """
    secrets = secrets_of(facts)
    table = inert(table, secrets)
    refused = {knob: inert(skip, secrets).reason for knob, skip in choices.items() if isinstance(skip, Skip)}
    lines: list[RenderableType] = [_headline(table), Text(), _rows(table), Text()]
    lines += [Text(line, style="dim") for line in _explained(table)]
    lines += section("Could be tried by `hotlap tune`", possible(choices))
    lines += section("Cannot help here", skipped(refused))
    return Group(*lines)


def _headline(table: FetchTable) -> Text:
    worst = table.rows[0]
    text = Text.assemble((numbers.seconds(table.fetch_s), "bold"), " to fetch a batch")
    if table.samples > 1:
        text.append(f" of {numbers.count(table.samples)} from {_kind(table)}")
        text.append(f", {numbers.seconds(table.fetch_s / table.samples)} a sample")
    text.append(f"; the most, {numbers.share(worst.time_s / table.fetch_s)}, in ").append(_cut(worst.text), "bold")
    if table.wait_s is not None and table.use_s is not None:
        text.append(f". The training waits {numbers.seconds(table.wait_s)} for it")
        text.append(f" and works {numbers.seconds(table.use_s)} between two")
        text.append(f", with {table.num_workers} worker{'s' * (table.num_workers > 1)}" if table.num_workers else "")
    return text.append(f". Of {table.batches} batches in one run, which prove no difference.")


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG - 2]} \u2026"


def _kind(table: FetchTable) -> str:
    return table.dataset.rpartition(":")[2].rpartition(".")[2]


def _rows(table: FetchTable) -> RenderableType:
    shown = [row for row in table.rows[: 2 * MOST_ROWS] if row.time_s >= _SMALL * table.fetch_s]
    unit, cells = numbers.column([row.time_s for row in shown], "s")
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    made.add_column(Text(f"a batch, {unit}"), justify="right", no_wrap=True)
    made.add_column(Text("share"), justify="right", no_wrap=True)
    made.add_column(Text("where"), no_wrap=True)
    made.add_column(Text("what"))  # the one column that gives way where there is no room
    for row, cell in zip(shown, cells):
        what = Text(row.text, style="" if row.file else "italic", no_wrap=True, overflow="ellipsis")
        made.add_row(Text(cell), Text(numbers.share(row.time_s / table.fetch_s)), Text(_where(row), style="dim"), what)
    rest = [row for row in table.rows if row not in shown]
    if not rest:
        return made
    rest_s = numbers.seconds(sum(row.time_s for row in rest))
    return Group(made, Text(f"and {len(rest)} more row{'' if len(rest) == 1 else 's'} {rest_s}", style="dim"))


def _where(row: FetchRow) -> str:
    if not row.file:
        return row.stage
    return f"{row.file.rpartition('/')[2]}:{row.line} {row.function}"


def _explained(table: FetchTable) -> list[str]:
    first = (
        "A line is charged with all that it calls in libraries; the members of a chain of transforms and the collation "
        "have rows of their own. Fetched in the training's own process, apart from the training."
    )
    lines = [first]
    if table.waiting >= _WORTH_SAYING:
        share = numbers.share(table.waiting)
        lines.append(f"In {share} of the time the fetching thread runs on no core: files, a network, other threads.")
    if table.sampler_s >= _WORTH_SAYING * table.fetch_s:
        lines.append(f"Before it, the sampler takes {numbers.seconds(table.sampler_s)} to name a batch.")
    if table.followed >= _DRAGS:
        times = numbers.small(table.followed)
        lines.append(f"A batch takes {times} times as long while it is followed: small shares are uncertain.")
    return lines
