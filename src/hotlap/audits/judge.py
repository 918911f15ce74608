"""What every audit says of a run, and the numbers that they say it with."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap import stats
from hotlap.audits.audit import Audit
from hotlap.records import Estimate, Finding, Seen, Status

_FIRST = (Status.FAIL, Status.INFORMATIVE)  # in the order of telling; what there is nothing to do about comes last
_BATCHES = 10  # of steps, whose means are nearly independent where steps are not


def audited(seen: Seen, audits: Sequence[Audit]) -> tuple[Finding, ...]:
    """What every audit says, the worst first; one that fails says so, and none keeps the others from speaking."""
    found = [(_judged(audit, seen), audit.misleads) for audit in audits]
    return tuple(finding for finding, _ in sorted(found, key=lambda one: _place(*one)))


def _place(finding: Finding, misleads: bool) -> tuple[int, bool, float]:
    """Faults before what is worth knowing; first those in what is learned, then what wastes most."""
    place = _FIRST.index(finding.status) if finding.status in _FIRST else len(_FIRST)
    return place, not misleads, -finding.wasted.value if finding.wasted else 0.0


def _judged(audit: Audit, seen: Seen) -> Finding:
    missing = [name for name in audit.needs if getattr(seen, name) is None]
    if missing == ["operations"] and any(root.compiled for root in seen.facts.roots):
        return audit.error("a compiled graph hides its operations")
    if missing:
        return audit.error(f"nothing was seen of its {' and '.join(missing)}")
    if broken := [f"{name} ({seen.failed[name]})" for name in audit.looks_at if name in seen.failed]:
        return audit.error(f"it failed to look at {' and '.join(broken)}")
    try:
        return audit.judge(seen)
    except Exception as error:
        return audit.error(f"{type(error).__name__}: {error}")


def per_step(seconds: Sequence[float]) -> Estimate | None:
    """Mean time per step [s] with an interval from the means of stretches of steps; None for too few steps."""
    size = len(seconds) // _BATCHES
    if size < 1:
        return None
    means = [sum(seconds[i * size : (i + 1) * size]) / size for i in range(_BATCHES)]
    return stats.mean(means, unit="s")


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
