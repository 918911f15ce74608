"""Time to phases: every moment between two step ends belongs to exactly one phase, so phases sum to the step.

Boundaries nest (a closure calls forward and backward inside the optimizer's step); time goes to the innermost one.
Evaluation is only known in hindsight, when a root runs without gradients: what was spent since the last training
event is held back until then, and moved out of the step if it led into an evaluation. A network that is only asked
(a target, a teacher) is told apart from an evaluation by the caller; it is kept aside too, phase by phase, because
only the whole run shows whether it belongs to the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TRAINING = ("forward", "backward", "optimizer")


class Spent(NamedTuple):
    """What was spent since the last step ended, by phase, in the clock's unit; the three together are all of it."""

    step: dict[str, float]
    """With "epoch start" beside the phases, if an iteration over a loader was begun."""
    evaluation: dict[str, float]
    helper: dict[str, float]
    """Leading into, and in, networks that are asked without gradients."""


class Clock:
    """Exclusive time by phase for the step under way.

    Args:
        now: Monotonic time, in any unit.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stack: list[str] = []
        self._base = "other"
        self._last = now()
        self._spans: list[tuple[str, float]] = []
        self._since = 0
        """The spans from here on came after the last training event: where they led is not known yet."""
        self._apart = Spent({}, {}, {})
        self._source = 0
        self._evaluated: set[int] = set()
        self._aside = ""
        """What the time since the last training event led into: evaluation, helper, doubt or nothing."""
        self.evaluations = 0

    # -- phases

    def enter(self, phase: str) -> None:
        """The innermost phase from here on, one of training."""
        self._charge()
        if self._aside:
            if self._aside == "doubt" and phase == "backward":
                self._aside = ""  # what looked like an evaluation is learned from
            self._close_aside()
        self._since = len(self._spans)
        self._stack.append(phase)

    def enter_aside(self, kind: str) -> None:
        """A root is called apart from training.

        Args:
            kind: "evaluation"; "helper" for a network that may be part of the step; "doubt" for a call in evaluation
                mode, but with gradients: an evaluation unless a backward follows.
        """
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
            self._set_apart(kind)
        self._evaluated.add(self._source)

    def enter_copy(self) -> None:
        """A tensor is on its way to another device, which is part of whatever needs it."""
        self._charge()
        self._stack.append("copy")

    def leave(self, *phases: str) -> None:
        """Back to what is around the innermost of these phases."""
        self._charge()
        stack = self._stack
        if not set(phases) & set(stack):
            return  # it began in an earlier step
        while (left := stack.pop()) not in phases:
            pass  # a phase left by an exception never said goodbye
        if not stack and left in TRAINING:
            self._base = "loss" if left == "forward" else "other"
            self._since = len(self._spans)

    def enter_data(self, phase: str, source: int) -> None:
        """Fetching from one iterator; the switch to another one ends an evaluation.

        Args:
            phase: "data", or "epoch start" for a new iterator and its first batch.
            source: Identity of the iterator.
        """
        self._charge()
        if self._aside and source not in self._evaluated:
            self._close_aside()
        self._source = source
        self._stack.append(phase)

    # -- what may be apart from the step

    def _note_evaluation(self, kind: str) -> None:
        if kind == "evaluation" and self._aside != "evaluation":
            self.evaluations += 1

    def _close_aside(self) -> None:
        """Training goes on: what led nowhere yet goes where it led."""
        kind = "evaluation" if self._aside == "doubt" else self._aside
        self._note_evaluation(kind)
        if kind:
            self._set_apart(kind)
        self._aside = ""
        self._evaluated.clear()

    def _charge(self) -> None:
        now = self._now()
        phase = self._stack[-1] if self._stack else self._base
        self._spans.append((phase, now - self._last))
        self._last = now

    def _set_apart(self, kind: str) -> None:
        """Take what came after the last training event out of the step."""
        _add_up(self._spans[self._since :], getattr(self._apart, kind))
        del self._spans[self._since :]

    # -- steps

    def end_step(self) -> Spent:
        """What was spent up to the end of the step, which is here."""
        self._charge()
        if self._aside:
            self._close_aside()
        spent, self._apart = self._apart, Spent({}, {}, {})
        _add_up(self._spans, spent.step)
        self._spans.clear()
        self._since = 0
        return spent

    def restart(self) -> None:
        """Begin the next step now; what the recorder itself did since the last one counts for nobody."""
        self._spans.clear()
        self._since = 0
        self._stack.clear()
        self._base = "other"
        self._last = self._now()


def _add_up(spans: list[tuple[str, float]], into: dict[str, float]) -> None:
    for phase, spent in spans:
        phase = "forward" if phase == "aside" else phase
        into[phase] = into.get(phase, 0) + spent
