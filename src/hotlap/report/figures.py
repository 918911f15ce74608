"""The plots of the page, as plotly's own JSON: figures are data here and are drawn in the browser.

Colours are names of the page's CSS variables, so that they follow light, dark and print.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log, sqrt
from statistics import fmean, stdev
from typing import Any

from hotlap.records import PHASES, Curve, Estimate, Phases, Result, Setup
from hotlap.report import numbers, words

Figure = dict[str, Any]

MOST_POINTS = 400  # of a curve in the page: more than the pixels of a small plot, less than a megabyte
SMOOTHED_SHARE = 40  # the running mean spans a fortieth of the curve
_OWN_NOISE = 5  # pairs; fewer do not tell theirs
SCREEN_QUANTILE = 1.96  # normal: the noise is pooled over all pairs, so Student's t of two pairs would be too wide
LABEL_LENGTH = 34


def step_anatomy(result: Result) -> Figure:
    """Stacked bars of a step's phases, as written and tuned, to the same scale."""
    steps: dict[str, Phases] = {"tuned": result.tuned} if result.tuned else {}
    steps["as written"] = result.baseline
    bars = [_phase_bar(name, steps) for name in words.phase_names(*steps.values())]
    drawn = layout(height=56 + 58 * len(steps), barmode="stack", bargap=0.28)
    drawn["xaxis"].update(ticksuffix=" ms", rangemode="tozero", nticks=6)
    drawn["yaxis"].update(automargin=True, showgrid=False)
    return {"data": bars, "layout": drawn}


def _phase_bar(name: str, steps: dict[str, Phases]) -> Figure:
    times = [step.phases_s.get(name, 0.0) for step in steps.values()]
    shares = [time_s / step.total_s if step.total_s > 0 else 0.0 for time_s, step in zip(times, steps.values())]
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(name),
        "y": list(steps),
        "x": [1000 * time_s for time_s in times],
        "text": [numbers.share(share) if share >= 0.08 else "" for share in shares],
        "hovertext": [f"{label(name)}: {numbers.seconds(t)}, {numbers.share(s)}" for t, s in zip(times, shares)],
        "hoverinfo": "text",
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "none",
        "textfont": {"color": "var(--on-phase)"},
        "marker": {"color": f"var(--{name})" if name in PHASES else "var(--other)", "line": {"width": 0}},
    }


@dataclass(frozen=True)
class Row:
    """A line of the forest plot."""

    label: str
    kind: str
    gain: Estimate


_KINDS = {
    "plan": ("diamond", "var(--good)"),
    "kept": ("circle", "var(--good)"),
    "rejected": ("square", "var(--bad)"),
    "screened": ("circle-open", "var(--muted)"),
}


def forest_rows(result: Result) -> list[Row]:
    """Every setting with a measured ratio, the plan first."""
    rows = [Row("all together", "plan", result.speedup)] if result.speedup else []
    kept = [Row(words.setting(k.knob, k.value), "kept", k.share) for k in result.kept if k.share]
    rows += sorted(kept, key=lambda row: -row.gain.value)
    rows += [Row(str(r.setup), "rejected", r.evidence) for r in result.rejected if r.evidence]
    judged = {r.setup for r in result.rejected if r.evidence}
    return rows + [Row(str(s), "screened", gain) for s, gain in screened(result).items() if s not in judged]


def screened(result: Result) -> dict[Setup, Estimate]:
    """What each setting brought in the screening, best first; of one or two pairs with the pooled noise's interval."""
    logs: defaultdict[Setup, list[float]] = defaultdict(list)
    for pair in result.pairs:
        if pair.stage == "screen" and pair.reference_s > 0 and pair.candidate_s > 0:
            logs[pair.setup.less(pair.beside)].append(log(pair.reference_s / pair.candidate_s))
    gains: dict[Setup, Estimate] = {}
    for setup, values in sorted(logs.items(), key=lambda item: -fmean(item[1])):
        noise = stdev(values) if len(values) >= _OWN_NOISE else result.noise
        centre, half = fmean(values), SCREEN_QUANTILE * noise / sqrt(len(values))
        gains[setup] = Estimate(exp(centre), exp(centre - half), exp(centre + half), "x", len(values))
    return gains


def forest(rows: Sequence[Row], what: str = "times as fast per step") -> Figure:
    """Each row's ratio with its interval, beside the line of no change; `what` names the axis."""
    places = {id(row): len(rows) - place for place, row in enumerate(rows)}
    traces = [_marks(kind, [row for row in rows if row.kind == kind], places) for kind in _KINDS]
    drawn = layout(height=66 + 30 * len(rows))
    drawn["xaxis"].update(type="log", title=title(what), **_ticks(rows))
    drawn["yaxis"].update(
        tickvals=list(places.values()),
        ticktext=[label(_short(row.label)) for row in rows],
        range=[0.4, len(rows) + 0.6],
        automargin=True,
        showgrid=False,
    )
    line = {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    drawn["shapes"] = [{**line, "line": {"color": "var(--ink)", "width": 1, "dash": "dot"}}]
    return {"data": [trace for trace in traces if trace["x"]], "layout": drawn}


def _marks(kind: str, rows: list[Row], places: dict[int, int]) -> Figure:
    symbol, colour = _KINDS[kind]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": kind,
        "x": [row.gain.value for row in rows],
        "y": [places[id(row)] for row in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [row.gain.high - row.gain.value for row in rows],
            "arrayminus": [row.gain.value - row.gain.low for row in rows],
            "thickness": 2,
            "width": 0,
            "color": colour,
        },
        "hovertext": [f"{label(row.label)}: {numbers.estimate(row.gain)}" for row in rows],
        "hoverinfo": "text",
        "marker": {
            "symbol": symbol,
            "size": 11 if kind == "plan" else 9,
            "color": colour,
            "line": {"width": 2, "color": colour},
        },
    }


def _ticks(rows: Sequence[Row]) -> Figure:
    """Plain numbers on a log axis, as many as a narrow screen has room for."""
    low = min([row.gain.low for row in rows if row.gain.low > 0] + [0.9])
    high = max([row.gain.high for row in rows] + [1.1])
    ladders = (0.8, 0.9, 1, 1.1, 1.2, 1.3), (0.5, 0.7, 1, 1.4, 2, 3, 4), (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    ladder = ladders[0] if high / low < 1.5 else ladders[1] if high / low < 5 else ladders[2]
    inside = [tick for tick in ladder if low / 1.06 <= tick <= high * 1.06]
    bounds = [log(max(low / 1.06, 0.01)) / log(10), log(min(high * 1.06, 1000)) / log(10)]
    return {"tickvals": inside, "ticktext": [f"{tick:g}x" for tick in inside], "range": bounds}


def loss_curves(curves: Sequence[Curve]) -> list[Figure]:
    """One small plot for each seed, all on the same scale: raw losses faint, their running mean strong."""
    drawn = [[_arm(curve.reference), _arm(curve.candidate)] for curve in curves]
    every = [y for arms in drawn for _, raw, _ in arms for y in raw if y is not None]
    margin = 0.04 * (max(every) - min(every)) if every else 0.0
    bounds = [min(every) - margin, max(every) + margin] if margin else None
    return [_seed(curve.seed, arms, bounds) for curve, arms in zip(curves, drawn)]


Arm = tuple[list[int], list[float | None], list[float | None]]


def _arm(losses: Sequence[float | None]) -> Arm:
    finite = [y if y is not None and isfinite(y) else None for y in losses]
    stride = -(-len(finite) // MOST_POINTS) or 1
    half = max(len(finite) // SMOOTHED_SHARE // 2, 1)
    steps = list(range(0, len(finite), stride))
    return [step + 1 for step in steps], [finite[step] for step in steps], [_mean(finite, step, half) for step in steps]


def _mean(values: Sequence[float | None], centre: int, half: int) -> float | None:
    near = [y for y in values[max(centre - half, 0) : centre + half + 1] if y is not None]
    return fmean(near) if near and values[centre] is not None else None


def _seed(seed: int, arms: list[Arm], bounds: list[float] | None) -> Figure:
    names = (("as written", "var(--reference)", "solid"), ("tuned", "var(--candidate)", "dot"))
    traces: list[Figure] = []
    for (name, colour, dash), (steps, raw, smooth) in zip(names, arms):
        curve = {"type": "scatter", "mode": "lines", "x": steps}
        faint = {"opacity": 0.25, "hoverinfo": "skip", "line": {"width": 1, "color": colour}}
        strong = {"name": name, "line": {"width": 2.4, "color": colour, "dash": dash}}
        traces += [{**curve, **faint, "y": raw}, {**curve, **strong, "y": smooth}]
    traces = [traces[0], traces[2], traces[1], traces[3]]  # both raw curves lie under both means
    drawn = layout(height=230, hovermode="x unified")
    drawn["title"] = {"text": f"seed {seed}", "font": {"size": 13}, "x": 0.02, "y": 0.97}
    drawn["margin"].update(t=30, b=44)
    drawn["xaxis"].update(title=title("training step"), nticks=5)
    drawn["yaxis"].update(title=title("loss"), automargin=True, hoverformat=".4f", nticks=5)
    if bounds:
        drawn["yaxis"]["range"] = bounds
    return {"data": traces, "layout": drawn}


def layout(height: int, **more: Any) -> Figure:
    """What all plots have in common."""
    axis = {"gridcolor": "var(--line)", "linecolor": "var(--line)", "zeroline": False, "fixedrange": True}
    return {
        "height": height,
        "showlegend": False,  # the page draws legends, which wrap on a narrow screen
        "margin": {"l": 12, "r": 12, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink)", "family": "var(--sans)", "size": 13},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        "xaxis": {**axis},
        "yaxis": {**axis},
        **more,
    }


def title(text: str) -> Figure:
    """The name of an axis."""
    return {"text": text, "font": {"size": 13, "color": "var(--muted)"}}


def _short(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else f"{label[: LABEL_LENGTH - 1]}\u2026"


def label(text: str) -> str:
    """Plotly reads markup in its labels, so what comes from outside is escaped for it."""
    return html.escape(text, quote=False)
