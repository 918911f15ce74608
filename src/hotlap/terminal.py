"""What a person sees while a tune runs: what is being tried, what was learnt so far, the time left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text


class _Progress(Progress):
    """A progress line, below whatever is shown above it."""

    above: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.above is not None:
            yield self.above
        yield from super().get_renderables()


class Voice:
    """Lines for what was learnt, and one moving line for what is under way.

    On a terminal the moving line shows the share of the budget that is spent; elsewhere it is left out.

    Args:
        console: Where to; not where results go.
        budget_s: Time for everything [s].
    """

    def __init__(self, console: Console, budget_s: float) -> None:
        self._console = console
        self._progress = _Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TimeElapsedColumn(),
            TextColumn("of {task.total:.0f} s"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=budget_s)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def trying(self, text: str, spent_s: float) -> None:
        """What is being run from now on."""
        self._progress.update(self._task, description=Text(text).plain, completed=spent_s)

    def limit(self, budget_s: float) -> None:
        """The time for everything is known now."""
        self._progress.update(self._task, total=budget_s)

    def show(self, table: RenderableType) -> None:
        """What stands above the moving line, until something else does."""
        self._progress.above = table

    def learnt(self, text: str) -> None:
        """Something that stays on the screen."""
        self._progress.console.print(text, markup=False, highlight=False)
