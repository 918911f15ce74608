"""report.html of a race: one page that needs nothing but itself."""

from __future__ import annotations

import json

import msgspec
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hotlap.race.goals import DEFAULT
from hotlap.race.result import RaceResult
from hotlap.report import figures, numbers, race_figures
from hotlap.report import race_words as words
from hotlap.report.html import PAGES, island
from hotlap.report.inert import inert_result

_FEW_POINTS = 2  # of a rule; one setting shows no sensitivity


def race_page(result: RaceResult) -> str:
    """The report of a race as one self-contained HTML page."""
    result = inert_result(result)
    drawn: dict[str, figures.Figure] = {}
    if result.finalists:
        drawn["steps"] = race_figures.curves(result, over_time=False)
        drawn["time"] = race_figures.curves(result, over_time=True)
        drawn["times"] = race_figures.times(result)
    rows = race_figures.speedups(result)
    if rows:
        drawn["forest"] = figures.forest(rows, "times sooner at the goal")
    if result.range_test:
        drawn["range-test"] = race_figures.range_test(result.range_test)
    sensitive = [one for one in result.screened if len({t.lr for t in one.tried}) >= _FEW_POINTS]
    drawn |= {f"rate-{place}": race_figures.sensitivity(one) for place, one in enumerate(sensitive)}
    return PAGES.get_template("race.html.jinja").render(
        result=result,
        words=words,
        numbers=numbers,
        goal=DEFAULT,
        colour=race_figures.colour,
        rows=rows,
        sensitive=len(sensitive),
        facts=json.dumps(msgspec.to_builtins(result.facts), indent=2, ensure_ascii=False),
        figures=island(drawn),
        plotly=Markup(get_plotlyjs()),
    )
