"""A run that is to be held against another one of the same seed: now and then, hashes of everything that learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotlap.inside.events import digest
from hotlap.inside.state import LearningState

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class Repeat:
    """Hashes after the steps that are powers of two and after the last one: early to name, late to be sure."""

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder
        self._state = LearningState(host, recorder)
        self._hashes: dict[int, dict[str, str]] = {}

    def install(self) -> None:
        """Look at the end of steps, and write at the end of the run."""
        self._recorder.on_end.append(self._ended)
        self._recorder.on_close.append(self._write)

    def _ended(self, index: int) -> None:
        if index == 1:
            self._hashes.clear()  # a bigger optimizer turned up, and steps are counted anew
        if index & (index - 1) == 0 or index == self._host.task["steps"]:
            self._hashes[index] = {name: digest(tensor) for name, tensor in self._state.all().items()}

    def _write(self) -> None:
        self._host.journal.write("seen", probe="hashes", what=self._hashes)
