"""The keys that `--model`, `--memory` and `--data` add to the document of `hotlap check --json`."""

from __future__ import annotations

from typing import Any

import msgspec

from hotlap.records import Facts
from hotlap.records.views import FetchTable, MemoryTable, ModuleTable
from hotlap.report.document import finite
from hotlap.report.inert import inert, secrets_of


def views_document(
    facts: Facts, modules: ModuleTable | None, memory: MemoryTable | None, fetching: FetchTable | None = None
) -> dict[str, Any]:
    """What was asked for, under "modules", "memory" and "fetching"; its keys are stable."""
    added: dict[str, Any] = {}
    if modules is not None:
        plain = inert(modules, secrets_of(facts))
        derived = ("time_s", "waste_s", "intensity", "roofline_share", "memory_bytes")
        added["modules"] = {
            **msgspec.to_builtins(plain),
            "rows": [
                {**msgspec.to_builtins(row), **{name: getattr(row, name) for name in derived}} for row in plain.rows
            ],
        }
    if memory is not None:
        added["memory"] = msgspec.to_builtins(inert(memory, secrets_of(facts)))
    if fetching is not None:
        added["fetching"] = msgspec.to_builtins(inert(fetching, secrets_of(facts)))
    return finite(added)
