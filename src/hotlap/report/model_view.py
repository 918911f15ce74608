"""What `hotlap check --model` prints: a step, module by module, the most wasteful first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from hotlap.records import Facts
from hotlap.records.views import ModuleRow, ModuleTable
from hotlap.report import numbers, words
from hotlap.report.inert import inert, secrets_of

MOST_ROWS = 24
_WIDE = 112  # columns from which on forward, backward and the class are shown as well
_SMALL = 0.005  # of the step: a row below this is folded, unless half of it is wasted
_AS_MUCH = 1.005  # of the roofline: more than this is said to come from a cache


_ABOVE = " Above 100 %: a cache helped, or the limits were measured while the machine was busier."


def model_view(table: ModuleTable, facts: Facts, ceiling: Mapping[str, float]) -> RenderableType:
    """The table with the answer before it, and how to read it below.

    Args:
        table: The step.
        facts: Of the observed run.
        ceiling: Measured limits of the machine.
    """
    table = inert(table, secrets_of(facts))
    lines: list[RenderableType] = [_headline(table), Text(), ModuleRows(table), Text()]
    return Group(*lines, *(Text(line, style="dim") for line in _explained(table, ceiling)))


def _headline(table: ModuleTable) -> Text:
    known = [row for row in table.rows if row.waste_s is not None]
    text = Text()
    if not known:
        text.append("Where a step's time goes", "bold").append(", module by module; its operations were not counted")
    else:
        worst, waste_s = known[0], sum(row.waste_s or 0.0 for row in known)
        share = numbers.share(waste_s / table.total_s)
        text.append(f"{share} of a {numbers.seconds(table.total_s)} step is beyond what the roofline allows", "bold")
        text.append(f"; the most in {_called(worst)}, which takes {numbers.seconds(worst.time_s)} where ")
        text.append(f"{numbers.seconds(worst.allowed_s or 0.0)} would do")
    text.append(f". Means of {table.steps} traced steps in one run, which prove no difference.")
    return text


def _called(row: ModuleRow) -> str:
    kind = f" ({row.kind})" if row.kind and row.kind not in row.name else ""
    times = f" x {row.count}" if row.count > 1 else ""
    return f"{row.name}{times}{kind}" if row.kind else f"the {row.name}"


@dataclass(frozen=True)
class ModuleRows:
    """The table, with as many columns as there is room for."""

    table: ModuleTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, folded = _divided(self.table)
        wide = options.max_width >= _WIDE
        columns = _columns(shown, self.table.total_s, wide=wide)
        room = options.max_width - sum(1 + max(map(len, cells)) for cells in columns)
        made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
        made.add_column(no_wrap=True)
        for column in columns:
            made.add_column(justify="left" if column[0] == "class" else "right", no_wrap=True)
        names = ["module", "", *(_name(row, max(room, 8)) for row in shown)]
        for place, name in enumerate(names):
            style = "dim" if place < 2 else "" if shown[place - 2].kind else "italic"
            made.add_row(Text(name, style=style), *(_styled(cells[place], place) for cells in columns))
        yield made
        yield _around(self.table, folded)


def _divided(table: ModuleTable) -> tuple[list[ModuleRow], list[ModuleRow]]:
    """The rows that are worth a line, and the rest."""
    worth = [row for row in table.rows if max(2 * (row.waste_s or 0.0), row.time_s) >= _SMALL * table.total_s]
    shown = worth[:MOST_ROWS]
    return shown, [row for row in table.rows if row not in shown]


def _styled(cell: str, place: int) -> Text:
    return Text(cell, style="dim" if place < 2 or cell == "-" else "")


def _name(row: ModuleRow, room: int) -> str:
    times = f" x {row.count}" if row.count > 1 else ""
    name = row.name
    if len(name) + len(times) > room:  # the end of a name tells it from its neighbours
        name = "\u2026" + name[-max(1, room - len(times) - 1) :]
    return name + times


def _columns(rows: Sequence[ModuleRow], total_s: float, *, wide: bool) -> list[list[str]]:
    """Each with its heading, its unit and a cell for each row."""
    times = ["waste", "time"] + (["forward", "backward"] if wide else [])
    values = {
        "waste": [row.waste_s for row in rows],
        "time": [row.time_s for row in rows],
        "forward": [row.forward_s for row in rows],
        "backward": [row.backward_s for row in rows],
    }
    unit, cells = numbers.column([value for name in times for value in values[name]], "s")
    columns = [[name, unit, *cells[n * len(rows) : (n + 1) * len(rows)]] for n, name in enumerate(times)]
    columns.insert(2, ["share", "", *(numbers.share(row.time_s / total_s) for row in rows)])
    rates = [row.flops / row.time_s if row.flops and row.time_s else row.flops for row in rows]
    for name, unit, column in (
        ("ops", "FLOP", [row.flops for row in rows]),
        ("moved", "bytes", [row.moved_bytes for row in rows]),
        ("FLOP/", "", [row.intensity if row.moved_bytes or row.flops is None else 0.0 for row in rows]),
        ("rate", "FLOP/s", rates),
    ):
        shown, cells = numbers.column(column, unit)
        columns.append([name, shown or "byte", *cells])
    if wide:
        speeds = [row.moved_bytes / row.time_s if row.moved_bytes and row.time_s else row.moved_bytes for row in rows]
        shown, cells = numbers.column(speeds, "B/s")
        columns.append(["moved", shown, *cells])
    roof = [row.roofline_share for row in rows]
    columns.append(["roof", "", *("?" if share is None else numbers.share(share) if share else "-" for share in roof)])
    unit, cells = numbers.column([row.memory_bytes for row in rows], "bytes")
    columns.append(["holds", unit, *cells])
    if wide:
        columns.append(["class", "", *(row.kind for row in rows)])
    return columns


def _around(table: ModuleTable, folded: Sequence[ModuleRow]) -> Text:
    """What is in the step besides the rows, so that all of it is accounted for."""
    rest_s = sum(row.time_s for row in folded)
    parts = [f"{len(folded)} more row{'' if len(folded) == 1 else 's'} {numbers.seconds(rest_s)}"] if folded else []
    parts += [f"{phase} {numbers.seconds(time_s)}" for phase, time_s in table.around_s.items() if time_s > 0]
    return Text.assemble(f"and {', '.join(parts)}: ", (f"step {numbers.seconds(table.total_s)}", "bold"))


def _explained(table: ModuleTable, ceiling: Mapping[str, float]) -> list[str]:
    limits = f" ({words.ceilings(dict(ceiling))})" if ceiling else ", which were not measured"
    above = any((row.roofline_share or 0) > _AS_MUCH for row in table.rows)
    first = (
        "Own time, without the modules inside. Waste: time beyond the roofline, which is the longer of operations and "
        f"bytes at this machine's measured limits{limits}. Roof: the roofline's time as a share of a row's own."
        f"{_ABOVE if above else ''} Moved: what operations read and write, were nothing in a cache. Holds: parameters, "
        "gradients, optimizer state, and what is kept for the backward."
    )
    lines = [first]
    if table.compiled:
        lines.append(
            "The script compiles, and a graph hides its modules: each root, compiled as one or in parts, has a row for "
            "its forward and one for its backward. Operations and bytes are those of the modules as written."
        )
    if table.host_times:
        lines.append("Host times: on this device they are what it took to start the work, not to do it.")
    if table.fidelity is not None:
        lines.append(
            f"The rows' forward and backward sum to {numbers.seconds(table.attributed_s)}. Beside the untraced steps "
            f"between them, traced ones take {numbers.estimate(table.fidelity)} as long."
        )
    return lines
