"""The interface of an audit: a judgement of one observed run, with what it costs and what to change.

An audit reads its arguments and nothing else. Its docstring carries the published headings (`## What it finds`,
`## Why it costs`, `## When it is right`, `## Source`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from hotlap.records import Estimate, Finding, Status, Value
from hotlap.records.seen import Seen


class Audit(ABC):
    """One thing that is often wrong with trainings."""

    id: ClassVar[str]
    area: ClassVar[str]
    """data, model, optimizer or hardware: the folder it lives in."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of `Seen` that must have been seen."""
    looks_at: ClassVar[tuple[str, ...]] = ()
    """Fields of `Seen` that may be None for want of anything to see, but not because the probe failed."""
    misleads: ClassVar[bool] = False
    """What it finds is a mistake in what is learned, which comes before all that only costs time."""
    knobs: ClassVar[tuple[str, ...]] = ()
    """What may mend it without a change of the code."""

    @abstractmethod
    def judge(self, seen: Seen) -> Finding:
        """What there is to say of this run."""

    def fails(self, headline: str, advice: str, wasted: Estimate | None = None, **evidence: Value) -> Finding:
        """Something to change."""
        return self._finding(Status.FAIL, headline, advice, wasted, evidence)

    def informs(self, headline: str, advice: str = "", wasted: Estimate | None = None, **evidence: Value) -> Finding:
        """Something to know, which may well be meant so."""
        return self._finding(Status.INFORMATIVE, headline, advice, wasted, evidence)

    def passes(self, headline: str, **evidence: Value) -> Finding:
        """Nothing found."""
        return self._finding(Status.PASS, headline, "", None, evidence)

    def not_applicable(self, why: str) -> Finding:
        """There is no such thing in this training."""
        return self._finding(Status.NOT_APPLICABLE, why, "", None, {})

    def error(self, why: str) -> Finding:
        """It could not be checked, which is no pass."""
        return self._finding(Status.ERROR, f"could not be checked: {why}", "", None, {})

    def _finding(
        self, status: Status, headline: str, advice: str, wasted: Estimate | None, evidence: dict[str, Value]
    ) -> Finding:
        knobs = self.knobs if status in (Status.FAIL, Status.INFORMATIVE) else ()
        return Finding(self.id, self.area, status, headline, wasted, evidence, knobs, advice)
