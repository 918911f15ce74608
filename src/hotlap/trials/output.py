"""The captured output of a trial: its beginning and its end, whatever the script prints."""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH123

from __future__ import annotations

from collections import deque

HEAD_BYTES = 16 << 20
TAIL_BYTES = 16 << 20


class CappedLog:
    """Writes the head to the file at once, and keeps the tail in memory until the end."""

    def __init__(self, path: str, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        self._room = head
        self._limit = tail
        self._tail: deque[bytes] = deque()
        self._kept = 0
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Take in what the trial printed; a full disk costs the log, not the trial."""
        if self._room:
            head, data = data[: self._room], data[self._room :]
            self._room -= len(head)
            self._put(head)
        if not data:
            return
        self._tail.append(data)
        self._kept += len(data)
        while self._kept - len(self._tail[0]) >= self._limit:
            lost = len(self._tail.popleft())
            self._kept -= lost
            self._dropped += lost

    def close(self) -> None:
        """Append the tail, with a word on what is missing before it."""
        if self._dropped:
            self._put(b"\n[hotlap left out %d bytes]\n" % self._dropped)
        for data in self._tail:
            self._put(data)
        self._file.close()

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            pass
