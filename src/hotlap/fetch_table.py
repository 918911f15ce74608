"""Some batches fetched under observation, and from them where fetching spends its time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from hotlap.errors import HotlapError
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Facts, Loader, Trial, Value
from hotlap.records.views import FetchRow, FetchTable

_STEPS = 8  # the look comes after the first few


def fetch_table(lab: Lab, facts: Facts, limit_s: float) -> FetchTable:
    """Look at the first loader that trains, in a trial that is thrown away.

    Args:
        lab: Where trials run.
        facts: Of the observed run.
        limit_s: The trial is ended after so much time in its training loop.

    Raises:
        HotlapError: No DataLoader trains, or its batches could not be fetched.
    """
    loader = next((loader for loader in facts.loaders if loader.trains), None)
    if loader is None:
        raise HotlapError(
            "no-loader",
            "No DataLoader feeds the training, so there is no fetching to show.",
            fix="run `hotlap check` without --data",
        )
    options: dict[str, Value] = {"loader": loader.index}
    record = lab.run(Trial(lab.next_id("fetches"), "fetches", AS_WRITTEN, 0, 0, _STEPS, limit_s, options))
    seen: dict[str, Any] = record.seen.get("fetches", {})
    if not seen.get("pairs"):
        log = lab.runner.out / "trials" / record.log
        why = seen.get("failed") or ("its data ended" if seen else f"the trial ended with {record.outcome.value}")
        raise HotlapError(
            "script-failed",
            f"No batch could be fetched apart from the training: {why}. Its output is in {log}.",
            fix="give it more --budget, or leave --data out",
        )
    return _table(loader, seen["rows"], seen["pairs"])


def _table(loader: Loader, rows: Sequence[Sequence[Any]], pairs: Sequence[dict[str, float]]) -> FetchTable:
    """The followed batches tell the shares, the others how long a batch takes."""
    spent = {name: [pair[name] for pair in pairs] for name in pairs[0]}
    fetch_s = median(spent["plain_s"])
    whole_ns = sum(row[-1] for row in rows) or 1
    made = [FetchRow(*place, time_s=fetch_s * spent_ns / whole_ns) for *place, spent_ns in rows]
    return FetchTable(
        dataset=loader.dataset,
        samples=median(spent["samples"]),
        fetch_s=fetch_s,
        sampler_s=median(spent["drawn_s"]),
        waiting=max(0.0, 1 - sum(spent["busy_s"]) / sum(spent["plain_s"])),
        rows=tuple(sorted(made, key=lambda row: -row.time_s)),
        batches=len(pairs),
        followed=median(pair["followed_s"] / pair["plain_s"] for pair in pairs),
        num_workers=loader.num_workers,
        wait_s=loader.wait_s,
        use_s=loader.use_s,
    )
