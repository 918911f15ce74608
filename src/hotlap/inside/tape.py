"""The tape: marks of what happens in the training thread, and what the recorder must know while it runs."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from typing import Any

import torch

from hotlap import marks
from hotlap.inside.calls import tensors_in


class Tape:
    """Takes marks down, in the thread that trains: a loader that is read from another one is that thread's own time.

    Attributes:
        note: Takes down a mark of one number. In the path of the training it is called as it is, since every frame more
            would cost a microsecond there.
        note_long: Takes down a mark of three numbers.
        now: The time of a mark [ns].
        thread: The one that trains.
        inside: How many roots' calls are under way.
        arm: The setup that the step under way is counted for, see `hotlap.rounds`.
    """

    def __init__(self, now: Callable[[], int] = perf_counter_ns) -> None:
        self.thread = get_ident()
        self.inside = 0
        self.arm = 0
        self.now = now
        self._numbers: list[int] = []
        self.note: Callable[[int], None] = self._numbers.append
        self.note_long: Callable[[tuple[int, int, int]], None] = self._numbers.extend
        self._roots = 0

    @property
    def foreign(self) -> bool:
        """Whether this thread is another than the one that trains."""
        return get_ident() != self.thread

    def mark(self, what: int, at: int | None = None) -> None:
        """Something happened, now or at an earlier time [ns] after the last mark."""
        if get_ident() == self.thread:
            self.note((self.now() if at is None else at) << 4 | what)

    def wrap(self, root: torch.nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        """The layer around a root's call."""
        self._roots += 1
        number, now, note, note_long = self._roots, self.now, self.note, self.note_long

        def timed(*args: Any, **kwargs: Any) -> Any:
            if get_ident() != self.thread:
                return call(*args, **kwargs)
            # The usual call is inlined: it is given its batch first.
            first = args[0] if args else None
            rows = first.size(0) if type(first) is torch.Tensor and first.dim() else _rows(args, kwargs)
            note_long((now() << 4 | marks.CALL, number, rows << 2 | root.training << 1 | torch.is_grad_enabled()))
            self.inside += 1
            try:
                return call(*args, **kwargs)
            finally:
                self.inside -= 1
                note(now() << 4 | marks.RETURN)

        return timed

    def call(self, number: int, root: torch.nn.Module, args: Any, kwargs: Any) -> None:
        """A root is being called in the thread that trains; its number is one for each root that lives."""
        self.inside += 1
        about = _rows(args, kwargs) << 2 | root.training << 1 | torch.is_grad_enabled()  # see `marks.about`
        self.note_long((self.now() << 4 | marks.CALL, number, about))

    def returned(self) -> None:
        """The call returned or raised."""
        self.inside -= 1
        self.note(self.now() << 4 | marks.RETURN)

    def take_sampled(self) -> str:
        """The same at the device's times, for the steps in which they were sampled; "" when there are none."""
        return ""

    def take(self) -> str:
        """What was taken down since the last time."""
        text = marks.text(self._numbers)
        self._numbers.clear()
        return text


def _rows(args: Any, kwargs: Any) -> int:
    """Samples of a call."""
    return next((tensor.size(0) for tensor in tensors_in(args) + tensors_in(kwargs) if tensor.dim()), 0)
