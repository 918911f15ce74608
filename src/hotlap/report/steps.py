"""The anatomy of a training step in a terminal: bars to scale and the numbers under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from hotlap.records import Phases
from hotlap.report import numbers, words

_COLOURS = {
    "data": "white on blue",
    "copy": "black on cyan",
    "forward": "black on green",
    "loss": "black on yellow",
    "backward": "white on magenta",
    "optimizer": "white on red",
    "other": "white on bright_black",
}


@dataclass(frozen=True)
class StepBars:
    """One bar for each step, all to the same scale, as wide as there is room."""

    steps: Mapping[str, Phases]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        margin = max(map(len, self.steps)) + 1
        width = max(options.max_width - margin, 10)
        longest = max((step.total_s for step in self.steps.values()), default=0.0) or 1.0
        for name, step in self.steps.items():
            yield Text(f"{name:<{margin}}", no_wrap=True, overflow="crop").append_text(_bar(step, width / longest))


def _bar(step: Phases, cells_per_s: float) -> Text:
    """Segments whose ends, not lengths, are rounded: the bar ends where the step does."""
    bar, end_s, drawn = Text(), 0.0, 0
    for name in words.phase_names(step):
        end_s += step.phases_s[name]
        cells = round(end_s * cells_per_s) - drawn
        drawn += cells
        if cells > 0:
            label = f"\u258f{name}" if cells > len(name) else f"\u258f{name[: cells - 1]}"
            bar.append(f"{label:<{cells}}", style=_COLOURS.get(name, "reverse"))
    return bar


def phase_table(steps: Mapping[str, Phases]) -> Table:
    """A row for each step, a column for each phase."""
    names = words.phase_names(*steps.values())
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(Text(""), no_wrap=True)
    for name in (*names, "step"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for name, step in steps.items():
        times = [Text(numbers.seconds(step.phases_s.get(phase, 0.0))) for phase in names]
        table.add_row(Text(name), *times, Text(numbers.seconds(step.total_s), style="bold"))
    return table
