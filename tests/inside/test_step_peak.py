"""The peak of the steps is that of the steps: what was held before them is not in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hotlap.inside import process
from hotlap.inside.step_peak import StepPeak

BIG, SMALL = 256 << 20, 64 << 20


class Written:
    """A journal and a recorder in one, as far as they are asked."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.on_end: list[Callable[[int], None]] = []
        self.on_close: list[Callable[[], None]] = []
        self.journal = self
        self.wait_at = 0

    def write(self, kind: str, **fields: Any) -> None:
        self.lines.append((kind, fields))

    def ended(self, *steps: int) -> None:
        for step in steps:
            for act in tuple(self.on_end):
                act(step)


def peak_of(written: Written) -> dict[str, Any]:
    StepPeak(written, written, after=2, last=4).install()  # type: ignore[arg-type]
    start = bytearray(BIG)
    written.ended(1)
    del start
    written.ended(2)
    held = bytearray(SMALL)
    written.ended(3, 4)
    del held
    for act in written.on_close:
        act()
    ((kind, fields),) = written.lines
    assert kind == "step-peak"
    return fields


def test_what_the_start_held_is_not_in_it() -> None:
    """And what a step held and let go is."""
    if not process.forget_peak():
        pytest.skip("this kernel does not let a peak be forgotten")
    now = process.resident()[0]
    written = Written()
    found = peak_of(written)

    assert found["before_bytes"] > now + 0.95 * BIG  # the kernel counts in batches
    assert now + 0.9 * SMALL < found["bytes"] < now + 0.5 * BIG
    assert not written.on_end  # later steps are not looked at


def test_a_kernel_that_does_not_forget_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "forget_peak", lambda: False)

    assert peak_of(Written())["bytes"] is None
