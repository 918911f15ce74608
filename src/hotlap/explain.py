"""What is known of every knob and audit, from its own docstring: for `hotlap explain`, `hotlap list` and the docs."""

from __future__ import annotations

import inspect
from typing import Any

from hotlap.audits import AUDITS, all_audits, audit_by_id
from hotlap.audits.audit import Audit
from hotlap.errors import HotlapError, did_you_mean
from hotlap.knobs import KNOBS, all_knobs, knob_by_id
from hotlap.knobs.knob import Knob
from hotlap.records import Goal

_PROMISES = {
    "exact": "the same bits",
    "rounding": "the same maths, summed in another order or by another kernel",
    "reduced": "lower precision",
    "recipe": "another training algorithm, only on your word",
}


def explain(id_: str) -> str:
    """A knob or an audit in Markdown: what it is, then its docstring.

    Raises:
        HotlapError: None has this id.
    """
    if id_ in AUDITS:
        return audit_markdown(audit_by_id(id_))
    if id_ not in KNOBS:
        what = f"There is no knob or audit {id_}.{did_you_mean(id_, [*KNOBS, *AUDITS])}"
        raise HotlapError("unknown-knob", what, fix="take a name from `hotlap list`")
    return markdown(knob_by_id(id_))


def audit_markdown(audit: Audit, level: int = 1) -> str:
    """One audit as a section whose heading has this level."""
    facts = [f"- area: {audit.area}"]
    if audit.knobs:
        facts.append(f"- may be mended by: {', '.join(audit.knobs)}")
    return _page(audit.id, audit, facts, level)


def markdown(knob: Knob, level: int = 1) -> str:
    """One knob as a section whose heading has this level."""
    facts = [
        f"- area: {knob.area}",
        f"- promise: {knob.contract.value} ({_PROMISES[knob.contract.value]})",
        f"- takes hold: at {knob.when.value}" if knob.when.value != "any time" else "- takes hold: at any time",
    ]
    if knob.conflicts:
        facts.append(f"- not together with: {', '.join(knob.conflicts)}")
    if Goal.MEMORY in knob.goals:
        facts.append(f"- tried under: {' and '.join(f'`--goal {goal.value}`' for goal in knob.goals)}")
    if knob.suggested_only:
        facts.append("- applied only by `--set`, and then kept whatever it costs")
    return _page(knob.id, knob, facts, level)


def _page(id_: str, plugin: Knob | Audit, facts: list[str], level: int) -> str:
    summary, _, rest = inspect.cleandoc(type(plugin).__doc__ or "").partition("\n\n")
    marks = "#" * level
    body = "\n".join(_section(line, marks) for line in rest.splitlines())
    return f"{marks} {id_}\n\n{' '.join(summary.split())}\n\n" + "\n".join(facts) + f"\n{body}\n"


def _summary(plugin: Knob | Audit) -> str:
    return " ".join(inspect.cleandoc(type(plugin).__doc__ or "").partition("\n\n")[0].split())


def _section(line: str, marks: str) -> str:
    """Headings of the docstring go one level below the knob's, with room around them."""
    return f"\n{marks}# {line[3:]}\n" if line.startswith("## ") else line


def listing() -> dict[str, list[dict[str, Any]]]:
    """Every knob and audit, as `hotlap list --json` prints them."""
    knobs = [
        {
            "id": knob.id,
            "area": knob.area,
            "contract": knob.contract.value,
            "when": knob.when.value,
            "conflicts": list(knob.conflicts),
            "goals": [goal.value for goal in knob.goals],
            "suggested_only": knob.suggested_only,
            "summary": _summary(knob),
        }
        for knob in all_knobs()
    ]
    audits = [
        {"id": audit.id, "area": audit.area, "knobs": list(audit.knobs), "summary": _summary(audit)}
        for audit in all_audits()
    ]
    return {"knobs": knobs, "audits": audits}
