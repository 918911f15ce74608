"""A number in the script's own output, with the step after which it was printed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_LONGEST = 1 << 16  # of a line; what goes on without an end is no line


class Printed:
    """Reads along what is printed, line by line.

    Args:
        host: Of this process.
        recorder: Counts the steps.
        pattern: A regular expression whose one group is the number.
        last: A number printed after so many steps ends the trial; 0 for none.
    """

    def __init__(self, host: Host, recorder: Recorder, pattern: str, last: int) -> None:
        self.host = host
        self.recorder = recorder
        self._pattern = re.compile(pattern)
        self._last = last
        self._pid = os.getpid()
        self._partial: dict[str, str] = {}

    def install(self) -> None:
        """Listen to both streams; progress bars and loggers write to the second."""
        for name in ("stdout", "stderr"):
            self.host.wrap(getattr(sys, name), "write", self._listening(name))

    def _listening(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def write(text: Any) -> Any:
                written = original(text)
                if isinstance(text, str) and os.getpid() == self._pid:
                    self._heard(name, text)
                return written

            return write

        return make

    def _heard(self, name: str, text: str) -> None:
        *lines, rest = re.split(r"[\r\n]", self._partial.pop(name, "") + text)
        self._partial[name] = rest[-_LONGEST:]
        for line in lines:
            for found in self._pattern.findall(line):
                self._note(found)

    def _note(self, text: str) -> None:
        try:
            value = float(text)
        except ValueError:
            return
        done = self.recorder.index - 1
        self.host.journal.write("metric", step=done, value=value)
        if self._last and done >= self._last:
            self.recorder.end("budget reached")
