"""Time to phases: every moment between two step ends belongs to exactly one phase, so phases sum to the step.

Boundaries nest (a closure calls forward and backward inside the optimizer's step); time goes to the innermost one.
Evaluation is only known in hindsight, when a root runs without gradients: what was spent since the last training
event is held back until then, and moved out of the step if it led into an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter

TRAINING = ("forward", "backward", "optimizer")


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
        self._start = self._last
        self._held: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._source = 0
        self._evaluated: set[int] = set()
        self._evaluating = False
        self.evaluations = 0

    def enter(self, phase: str) -> None:
        """The innermost phase from here on; "evaluation" is a root called without gradients."""
        if get_ident() != self._thread:
            return
        self._charge()
        if phase == "evaluation":
            self._enter_evaluation()
        elif phase in TRAINING:
            self._commit("evaluation" if self._evaluating else None)
            self._evaluating = False
            self._evaluated.clear()
        self._stack.append(phase)

    def leave(self, phase: str) -> None:
        """Back to the phase around it."""
        if get_ident() != self._thread:
            return
        self._charge()
        while self._stack and self._stack.pop() != phase:
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
        if get_ident() != self._thread:
            return
        self._charge()
        if self._evaluating and source not in self._evaluated:
            self._commit("evaluation")
            self._evaluating = False
        self._source = source
        self._stack.append(phase)

    def _enter_evaluation(self) -> None:
        self._commit("evaluation")
        if not self._evaluating:
            self.evaluations += 1
        self._evaluating = True
        self._evaluated.add(self._source)

    def _charge(self) -> None:
        now = self._now()
        phase = self._stack[-1] if self._stack else self._base
        self._held[phase] = self._held.get(phase, 0.0) + now - self._last
        self._last = now

    def _commit(self, as_phase: str | None = None) -> None:
        for phase, spent in self._held.items():
            name = as_phase or phase
            self._spent[name] = self._spent.get(name, 0.0) + spent
        self._held.clear()

    def end_step(self) -> dict[str, float]:
        """Phases of the step that ends here [s], with "evaluation" and "epoch start" beside them if there were any."""
        self._charge()
        self._commit("evaluation" if self._evaluating else None)
        self._evaluating = False
        spent, self._spent = self._spent, {}
        return spent

    def restart(self) -> None:
        """Begin the next step now; what the recorder itself did since the last one counts for nobody."""
        self._last = self._now()
        self._stack.clear()
        self._base = "other"
