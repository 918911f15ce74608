"""From the gates to one verdict."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.records import Gate, Verdict, Word

_ORDER = (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT, Word.UNDECIDED, Word.CHANGED)


def conclude(gates: Sequence[Gate], seeds: int) -> Verdict:
    """The worst gate decides; no gates at all is "undecided", never a pass."""
    if not gates:
        return Verdict(Word.UNDECIDED, "", "no gate was run", (), seeds)
    deciding = max(gates, key=lambda gate: _ORDER.index(gate.word))
    return Verdict(deciding.word, deciding.name, deciding.reason, tuple(gates), seeds)
