"""From the gates to one verdict."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.records import Contract, Gate, Verdict, Word

_ORDER = (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT, Word.UNDECIDED, Word.CHANGED)


def conclude(gates: Sequence[Gate], seeds: int, *, repeats: bool = True) -> Verdict:
    """The worst gate decides; no gates at all is "undecided", never a pass."""
    if not gates:
        return Verdict(Word.UNDECIDED, "", "no gate was run", (), seeds)
    deciding = max(gates, key=lambda gate: _ORDER.index(gate.word))
    return Verdict(deciding.word, deciding.name, deciding.reason, tuple(gates), seeds, repeats=repeats)


def broken_promise(promise: Contract, verdict: Verdict) -> str:
    """What to say of settings that promise the same bits and do not keep it; "" otherwise."""
    broken = promise is Contract.EXACT and verdict.repeats and verdict.word in (Word.ROUNDING, Word.EQUIVALENT)
    return "promises the same bits and has others" if broken else ""
