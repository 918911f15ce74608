"""report.html: one page that needs nothing but itself. Every string passes jinja's autoescaping."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import msgspec
import tomli_w
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hotlap.records import PHASES, Goal, Result
from hotlap.report import asked_words, figures, memory_words, numbers, words
from hotlap.report.document import finite
from hotlap.report.inert import inert_result
from hotlap.report.roofline import roofline

PAGES = jinja2.Environment(
    autoescape=True,
    loader=jinja2.PackageLoader("hotlap", "report"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


KINDS = {
    "plan": ("\u25c6", "the whole plan, confirmed"),
    "kept": ("\u25cf", "kept: what leaving it out costs"),
    "rejected": ("\u25a0", "rejected"),
    "screened": ("\u25cb", "screened alone: ranks, proves nothing"),
}
"""Signs of the forest plot and what they mean."""


def page(result: Result) -> str:
    """The report as one self-contained HTML page: it opens offline, and asks no network for anything."""
    result = inert_result(result)
    rows = figures.forest_rows(result)
    drawn: dict[str, figures.Figure] = {"anatomy": figures.step_anatomy(result)}
    if rows:
        drawn["forest"] = figures.forest(rows)
    curves = figures.loss_curves(result.curves)
    drawn |= {f"curve-{place}": figure for place, figure in enumerate(curves)}
    return PAGES.get_template("page.html.jinja").render(
        result=result,
        words=words,
        memory_words=memory_words,
        asked_words=asked_words,
        for_memory=result.goal is Goal.MEMORY,
        numbers=numbers,
        roofline=roofline,
        answer=words.answer(result),
        rows=rows,
        kinds=KINDS,
        shown_kinds={row.kind for row in rows},
        known_phases=PHASES,
        curves=len(curves),
        steps={"as written": result.baseline, **({"tuned": result.tuned} if result.tuned else {})},
        phases=words.phase_names(result.baseline, result.tuned),
        settings=_settings(result),
        facts=json.dumps(msgspec.to_builtins(result.facts), indent=2, ensure_ascii=False),
        figures=island(drawn),
        plotly=Markup(get_plotlyjs()),
    )


def _settings(result: Result) -> str:
    """The plan's settings as they stand in hotlap.toml."""
    tables = ({"knob": k.knob, "value": k.value, "contract": k.contract.value} for k in result.kept)
    return "\n".join(f"[[settings]]\n{tomli_w.dumps(table)}" for table in tables).strip()


def island(data: Any) -> Markup:
    """JSON that no parser of HTML takes for anything else."""
    text = json.dumps(finite(data), separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
