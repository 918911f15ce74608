"""Copies to the device out of ordinary memory."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_FEW_BYTES = 1 << 16  # of a copy that takes no longer than its launch


class PageableCopies(Audit):
    """Copies to the device out of ordinary memory.

    ## What it finds
    Copies of more than 64 KiB from the host to the device in a step, out of memory that is not page-locked.
    ## Why it costs
    The driver copies to a page-locked buffer first, and the host waits: nothing overlaps, `non_blocking` or not.
    ## When it is right
    Little free memory on the host.
    ## Source
    PyTorch tutorial, "A guide on good usage of non_blocking and pin_memory()".
    """

    id: ClassVar[str] = "pageable-copies"
    area: ClassVar[str] = "data"
    knobs: ClassVar[tuple[str, ...]] = ("pinned-memory", "non-blocking-copies")

    def judge(self, seen: Seen) -> Finding:
        """By one step's copies."""
        if not seen.facts.is_cuda:
            return self.not_applicable("the training runs on the host itself")
        if seen.operations is None:
            return self.error("nothing was seen of its operations")
        copies = [c for c in seen.operations.calls if c.crossing and c.crossing[0] == "cpu"]
        large = [c for c in copies if c.moved_bytes // c.count > _FEW_BYTES]
        if not large:
            return self.passes("no large copy to the device comes out of ordinary memory")
        count, moved = sum(c.count for c in large), sum(c.moved_bytes for c in large) // 2  # read here, written there
        return self.fails(
            f"{count} copies to the device in a step, {moved / 1e6:.1f} MB, come out of ordinary memory",
            "pass pin_memory=True to the DataLoader, and non_blocking=True to the copies",
            copies=count,
            moved_bytes=moved,
        )
