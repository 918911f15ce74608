"""Time to phases: every moment between two step ends belongs to exactly one phase, so phases sum to the step.

Boundaries nest (a closure calls forward and backward inside the optimizer's step); time goes to the innermost one.
Evaluation is only known in hindsight, when a root runs without gradients: what was spent since the last training
event is held back until then, and moved out of the step if it led into an evaluation. A network that is only asked
(a target, a teacher) is told apart from an evaluation by the caller; it is kept aside too, phase by phase, because
only the whole run shows whether it belongs to the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import NamedTuple

TRAINING = ("forward", "backward", "optimizer")


class Spent(NamedTuple):
    """What was spent since the last step ended [s], by phase; the three together are all of it."""

    step: dict[str, float]
    """With "epoch start" beside the phases, if an iteration over a loader was begun."""
    evaluation: dict[str, float]
    helper: dict[str, float]
    """Leading into, and in, networks that are asked without gradients."""


class Clock:
    """Exclusive time by phase for the step under way.

    Args:
        now: Monotonic time [s]; a test passes its own.
    """

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self._now = now
        self._thread = get_ident()  # a loader that is read from another thread is that thread's own time
        self._stack: list[str] = []
        self._base = "other"
        self._last = now()
        self._held: dict[str, float] = {}
        self._spent = Spent({}, {}, {})
        self._source = 0
        self._evaluated: set[int] = set()
        self._aside = ""
        """What the time since the last training event led into: evaluation, helper, doubt or nothing."""
        self.evaluations = 0

    @property
    def foreign(self) -> bool:
        """Whether this thread is another than the one that trains."""
        return get_ident() != self._thread

    # -- phases

    def enter(self, phase: str) -> None:
        """The innermost phase from here on."""
        if self.foreign:
            return
        self._charge()
        if phase in TRAINING:
            if self._aside == "doubt" and phase == "backward":
                self._aside = ""  # what looked like an evaluation is learned from
            self._close_aside()
        self._stack.append(phase)

    def enter_aside(self, kind: str) -> None:
        """A root is called apart from training.

        Args:
            kind: "evaluation"; "helper" for a network that may be part of the step; "doubt" for a call in evaluation
                mode, but with gradients: an evaluation unless a backward follows.
        """
        if self.foreign:
            return
        self._charge()
        self._stack.append("aside")
        if any(phase in TRAINING for phase in self._stack):
            return  # a closure or a root's own forward
        if kind == "doubt":
            self._aside = self._aside or kind
        else:
            kind = "evaluation" if self._aside in ("evaluation", "doubt") else kind
            self._note_evaluation(kind)
            self._aside = kind
            self._commit(kind)
        self._evaluated.add(self._source)

    def leave(self, phase: str) -> None:
        """Back to the phase around it."""
        if self.foreign:
            return
        self._charge()
        if phase not in self._stack:
            return  # it began in an earlier step
        while self._stack.pop() != phase:
            pass  # a phase left by an exception never said goodbye
        if self._stack:
            return
        if phase == "forward":
            self._base = "loss"
        elif phase in ("backward", "optimizer"):
            self._base = "other"

    def enter_data(self, phase: str, source: int) -> None:
        """Fetching from one iterator; the switch to another one ends an evaluation.

        Args:
            phase: "data", or "epoch start" for a new iterator and its first batch.
            source: Identity of the iterator.
        """
        if self.foreign:
            return
        self._charge()
        if self._aside and source not in self._evaluated:
            self._close_aside()
        self._source = source
        self._stack.append(phase)

    # -- what was held back

    def _note_evaluation(self, kind: str) -> None:
        if kind == "evaluation" and self._aside != "evaluation":
            self.evaluations += 1

    def _close_aside(self) -> None:
        """Training goes on: what was held back goes where it led."""
        kind = "evaluation" if self._aside == "doubt" else self._aside
        self._note_evaluation(kind)
        self._commit(kind or "step")
        self._aside = ""
        self._evaluated.clear()

    def _charge(self) -> None:
        now = self._now()
        phase = self._stack[-1] if self._stack else self._base
        phase = "forward" if phase == "aside" else phase
        self._held[phase] = self._held.get(phase, 0.0) + now - self._last
        self._last = now

    def _commit(self, kind: str) -> None:
        into = getattr(self._spent, kind)
        for phase, spent in self._held.items():
            into[phase] = into.get(phase, 0.0) + spent
        self._held.clear()

    # -- steps

    def end_step(self) -> Spent:
        """What was spent up to the end of the step, which is here."""
        self._charge()
        self._close_aside()
        spent, self._spent = self._spent, Spent({}, {}, {})
        return spent

    def restart(self) -> None:
        """Begin the next step now; what the recorder itself did since the last one counts for nobody."""
        self._thread = get_ident()  # the thread that steps is the one that trains
        self._last = self._now()
        self._held.clear()
        self._stack.clear()
        self._base = "other"
