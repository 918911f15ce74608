"""Where the device is when the host makes its marks: by events in one step of some, without ever waiting for it.

Work on a device runs behind the host. An event is passed when the device gets there, so the time between two events is
what the device needed from one mark to the next; while it waits for the next batch, that is its exposed wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hotlap import marks
from hotlap.inside.tape import Tape

_EVERY = 16  # steps; a dozen events cost some 40 us, which a step of 5 ms cannot afford each time
_MS = 1_000_000  # in ns


def tape() -> Tape:
    """The tape for this machine."""
    return SampledTape(lambda: torch.cuda.Event(enable_timing=True)) if torch.cuda.is_available() else Tape()


def wait() -> None:
    """Until the device has done what it was given, where one is in use."""
    if torch.cuda.is_initialized():
        torch._C._cuda_synchronize()  # not by the name that a knob may have replaced


class SampledTape(Tape):
    """A tape that follows the device as well, in one step of sixteen.

    Args:
        event: Makes an event with `record`, `query` and `elapsed_time` [ms].
    """

    def __init__(self, event: Callable[[], Any]) -> None:
        super().__init__()
        self.note = self._follow
        self.note_long = self._follow_long
        self._event = event
        self._steps = 1  # the one under way
        self._current: list[tuple[Any, tuple[int, ...]]] | None = None
        self._waiting: list[list[tuple[Any, tuple[int, ...]]]] = []

    def _follow(self, mark: int) -> None:
        """Take a mark down, and the event that belongs to it if this is a step to follow."""
        self._numbers.append(mark)
        self._record(mark & 15, ())

    def _follow_long(self, mark: tuple[int, int, int]) -> None:
        self._numbers.extend(mark)
        what = mark[0] & 15
        if what == marks.RESUME:
            self._begin()
            mark = (mark[0], self._steps, 0)
        self._record(what, mark[1:])
        if what == marks.STEP and self._current is not None:
            self._waiting.append(self._current)
            self._current = None

    def _record(self, what: int, more: tuple[int, ...]) -> None:
        if self._current is not None:
            event = self._event()
            event.record()
            self._current.append((event, (what, *more)))

    def _begin(self) -> None:
        self._steps += 1
        used = torch.cuda.is_initialized()
        self._current = [] if used and self._steps % _EVERY == 0 else None

    def take_sampled(self) -> str:
        """The marks of the steps that the device has finished, at the device's times from the step's first mark."""
        done = [step for step in self._waiting if step[-1][0].query()]
        self._waiting = [step for step in self._waiting if step not in done]
        sampled: list[int] = []
        for step in done:
            first = step[0][0]
            for event, (what, *more) in step:
                at = round(first.elapsed_time(event) * _MS) if event is not first else 0
                sampled += (at << 4 | what, *more)
        return marks.text(sampled)
