"""Switches for debugging that were left on."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class DebugSwitches(Audit):
    """Switches for debugging that were left on.

    ## What it finds
    Anomaly detection, profilers, blocking launches, verbose libraries, a disabled CUDA cache.
    ## Why it costs
    Each checks, prints or waits in every operation.
    ## When it is right
    While you debug.
    ## Source
    PyTorch performance tuning guide, "Disable debugging APIs".
    """

    id: ClassVar[str] = "debug-switches"
    area: ClassVar[str] = "hardware"
    needs: ClassVar[tuple[str, ...]] = ("switches",)
    knobs: ClassVar[tuple[str, ...]] = ("anomaly-detection",)

    def judge(self, seen: Seen) -> Finding:
        """By flags and variables."""
        assert seen.switches is not None
        on = seen.switches.on
        if not on:
            return self.passes("no switch for debugging is on")
        return self.fails(f"{', '.join(sorted(on))} {'is' if len(on) == 1 else 'are'} on", "turn it off for trainings")
