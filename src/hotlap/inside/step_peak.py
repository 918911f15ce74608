"""The steps between the end of the warm-up and the end of the trial: all of a device's work on them, and their peak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hotlap.inside import process

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class StepPeak:
    """Lets the peak begin anew at the end of a step, and reads it once, at the end: no step is looked at.

    Args:
        host: Of this process.
        recorder: Tells of the steps.
        after: The last step of the warm-up.
        last: The last step of the trial.
    """

    def __init__(self, host: Host, recorder: Recorder, after: int, last: int) -> None:
        self._host = host
        self._recorder = recorder
        self._after = after
        self._last = last
        self._seen = False
        self._before = 0
        self._before_on_device = 0

    def install(self) -> None:
        """Wait for that step; a trial that ends before has no peak of its steps."""
        self._recorder.wait_at = self._after
        self._recorder.on_end.append(self._ended)
        self._recorder.on_close.append(self._write)

    def _ended(self, done: int) -> None:
        if done < self._after:
            return
        self._recorder.on_end.remove(self._ended)
        self._recorder.wait_at = self._last
        self._before = process.peak_bytes()
        self._seen = process.forget_peak()
        if torch.cuda.is_initialized():
            self._before_on_device = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self._seen = True

    def _write(self) -> None:
        on_device = torch.cuda.is_initialized()
        self._host.journal.write(
            "step-peak",
            bytes=(torch.cuda.max_memory_allocated() if on_device else process.resident()[1]) if self._seen else None,
            before_bytes=self._before,
            before_on_device_bytes=self._before_on_device,
        )
