"""From a traced run to what holds the memory of a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotlap.model_table import saved_by_module
from hotlap.records import Recording
from hotlap.records.views import HeldRow, LargestBatch, MemoryTable

MEMORY_STEPS = 14  # as far as inside/held.py looks


def memory_table(record: Recording, largest: LargestBatch | None) -> MemoryTable:
    """The parts of the peak, which they sum to.

    Args:
        record: Of the traced run.
        largest: What growing the batches found.
    """
    seen = record.seen["held"]
    moments = {name: _total(seen[name]) for name in ("backward", "update") if seen[name]}
    moment = max(moments, key=lambda name: moments[name], default="")
    peak_bytes = seen["peak_bytes"] or (record.peak_bytes if seen["device"] == "cpu" else record.cuda_peak_bytes) or 0
    rows = _rows(seen, seen[moment] if moment else {}, record)
    rest = peak_bytes - sum(row.size_bytes for row in rows)
    rows.append(HeldRow("workspaces, freed memory, other", max(0, rest)))
    return MemoryTable(
        peak_bytes=peak_bytes,
        of_a_step=bool(seen["of_a_step"] and seen["peak_bytes"]),
        moment=moment,
        rows=tuple(row for row in rows if row.size_bytes),
        device=seen["device"],
        saved=tuple(saved_by_module(record)),
        saved_bytes=seen["backward"]["activations"] if seen["backward"] else 0,
        largest=largest,
    )


def _rows(seen: dict[str, Any], held: dict[str, Any], record: Recording) -> list[HeldRow]:
    state = _largest_first(seen["state"].items())
    kept = [(f"{dtype} {' x '.join(map(str, shape)) or 'scalar'}", size) for shape, dtype, size in _kept(held)]
    return [
        HeldRow("Python and torch, as imported", seen["imported_bytes"]),
        HeldRow("parameters and buffers", held.get("parameters", 0)),
        HeldRow("gradients", held.get("gradients", 0)),
        HeldRow("optimizer state", held.get("optimizer_state", 0), state),
        HeldRow("activations, kept for the backward", held.get("activations", 0)),
        HeldRow("other tensors of the script", held.get("kept", 0), _largest_first(kept)),
    ]


def _kept(held: dict[str, Any]) -> list[tuple[list[int], str, int]]:
    return held.get("kept_largest", [])


def _largest_first(parts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(parts, key=lambda part: -part[1]))


def _total(moment: dict[str, Any]) -> int:
    return sum(moment[name] for name in ("parameters", "gradients", "optimizer_state", "activations", "kept"))
