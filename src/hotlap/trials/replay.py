"""From the marks of a training process to its steps: phases, samples, evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hotlap import marks
from hotlap.trials.clock import Clock, Spent

_HELPER_IS_PART = 0.5  # a network asked without gradients in more than this share of the steps is part of them


@dataclass(frozen=True)
class Row:
    """One step; times in nanoseconds, by phase."""

    number: int
    """As the recorder counts them, from 1; where only some steps were sampled, of that one."""
    spent: Spent
    samples: int
    graphs: int
    """Compiled so far."""
    arm: int
    """The setup it counts for, see `hotlap.rounds`."""

    def phase(self, name: str, with_helpers: bool) -> float:
        """Time in a phase [ns], or in "epoch start", which is no phase: it is spread over the epoch."""
        return self.spent.step.get(name, 0) + (self.spent.helper.get(name, 0) if with_helpers else 0)


def helpers_are_part(rows: Sequence[Row]) -> bool:
    """Whether a network that is asked without gradients is asked in most steps: a target or a teacher."""
    return sum(bool(row.spent.helper) for row in rows) > _HELPER_IS_PART * len(rows)


class Calls:
    """The calls of the step under way; only the outermost counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[str] = []
        self._trained: set[int] = set()
        self._samples: dict[int, list[int]] = {}
        self._doubtful: dict[int, list[int]] = {}

    def enter(self, root: int, call: int) -> None:
        """A root is being called."""
        rows, training, grad = marks.about(call)
        learned = not training and root in self._trained
        # Training, the evaluation of what trains, or neither for certain.
        kind = ("doubt" if learned else "forward") if grad else ("evaluation" if learned else "helper")
        self._open.append(kind)
        if len(self._open) > 1:
            return  # part of the call of another root
        if kind == "forward":
            self._clock.enter("forward")
            self._trained.add(root)
            self._doubtful.clear()
        else:
            self._clock.enter_aside(kind)
        if grad:
            _count(self._samples if kind == "forward" else self._doubtful, root, 1, rows)

    def leave(self) -> None:
        """The call returned or raised."""
        kind = self._open.pop() if self._open else ""
        if kind and not self._open:
            self._clock.leave("forward" if kind == "forward" else "aside")

    def learned_from(self) -> None:
        """A backward: what was called in evaluation mode, but with gradients, was training after all."""
        for root, (calls, samples) in self._doubtful.items():
            _count(self._samples, root, calls, samples)
        self._doubtful.clear()

    def end_step(self) -> int:
        """Samples of the step: those of the root that it called least, as a GAN calls its critic more than once."""
        samples = min(self._samples.values(), key=lambda count: count[0], default=[0, 0])[1]
        self._samples, self._doubtful = {}, {}
        return samples


def _count(counts: dict[int, list[int]], root: int, calls: int, samples: int) -> None:
    known = counts.setdefault(root, [0, 0])
    known[0] += calls
    known[1] += samples


class Replay:
    """Plays marks back, in order.

    Attributes:
        rows: The steps so far.
    """

    def __init__(self) -> None:
        self._at = 0
        self.clock = Clock(lambda: self._at)
        self.calls = Calls(self.clock)
        self.rows: list[Row] = []
        self._begun = False
        self._number = 1
        self._acts: dict[int, Callable[[int, int], Any]] = {
            marks.EPOCH_START: lambda source, _: self.clock.enter_data("epoch start", source),
            marks.FETCH: lambda source, _: self.clock.enter_data("data", source),
            marks.FETCHED: lambda _, __: self.clock.leave("data", "epoch start"),
            marks.CALL: self.calls.enter,
            marks.RETURN: lambda _, __: self.calls.leave(),
            marks.BACKWARD: lambda _, __: (self.calls.learned_from(), self.clock.enter("backward")),
            marks.BACKWARD_END: lambda _, __: self.clock.leave("backward"),
            marks.UPDATE: lambda _, __: self.clock.enter("optimizer"),
            marks.UPDATE_END: lambda _, __: self.clock.leave("optimizer"),
            marks.STEP: self._end_step,
            marks.RESUME: lambda number, _: self._resume(number),
            marks.COPY: lambda _, __: self.clock.enter_copy(),
            marks.COPIED: lambda _, __: self.clock.leave("copy"),
        }

    def play(self, text: str) -> None:
        """Take in the next stretch."""
        for at, what, which, more in marks.read(text):
            self._at = at
            if not self._begun:
                self._begun = True
                self.clock.restart()
            self._acts[what](which, more)

    def _end_step(self, graphs: int, arm: int) -> None:
        spent = self.clock.end_step()
        self.rows.append(Row(self._number, spent, self.calls.end_step(), graphs, arm))

    def _resume(self, number: int) -> None:
        self._number = number or self._number + 1
        self.clock.restart()

    def forget(self) -> None:
        """What was counted so far were not the steps."""
        self.rows.clear()

    def rest(self) -> Spent:
        """What was spent after the last step; to be asked once, at the end."""
        return self.clock.end_step()
