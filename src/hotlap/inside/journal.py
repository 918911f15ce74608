"""The way out of the user's process: one append-only file of JSON lines per process.

Inherited descriptors do not survive spawn or torchrun, and what is written below the sandbox is invisible outside it;
the folder named by HOTLAP_JOURNAL is mapped through.
"""

from __future__ import annotations

import json
import os
from typing import Any


class Journal:
    """Appends to `journal-<pid>.jsonl`; a forked child gets a file of its own."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._pid = 0
        self._descriptor = -1

    def write(self, kind: str, **fields: Any) -> None:
        """Append one line; without a folder (under `hotlap run`) nothing is written."""
        if self._folder is None:
            return
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            path = os.path.join(self._folder, f"journal-{self._pid}.jsonl")
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        line = json.dumps({"kind": kind, **fields}, separators=(",", ":"), default=str)
        os.write(self._descriptor, line.encode() + b"\n")

    def close(self) -> None:
        """Write nothing more from this process."""
        self._folder = None
