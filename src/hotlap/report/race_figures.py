"""The plots of a race's page; see `figures` for what a figure is."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from statistics import median

from hotlap.race.arm import Arm
from hotlap.race.goals import DEFAULT
from hotlap.race.range_test import RangeTest
from hotlap.race.result import Finalist, RaceResult, Screened
from hotlap.report import numbers, race_words
from hotlap.report.figures import Figure, Row, label, layout, title

_COLOURS = ("--reference", "--data", "--candidate", "--forward", "--backward", "--optimizer", "--loss", "--copy")
"""Of the finalists in their order: as written grey, its rule tuned blue, then the challengers."""


def colour(place: int) -> str:
    """The page's variable for a finalist."""
    return f"var({_COLOURS[place % len(_COLOURS)]})"


def curves(result: RaceResult, *, over_time: bool) -> Figure:
    """Every run of the finals faint, the median of each arm strong, and the goal as a line.

    Of other batch sizes a step counts as so many of the script's as it has times their samples.

    Args:
        result: Of the race.
        over_time: Against time [s] and not steps: a step costs each arm what it costs.
    """
    traces: list[Figure] = []
    for place, finalist in enumerate(result.finalists):
        line = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
        for points in finalist.curves:
            x, y = _scaled(points, finalist, over_time)
            traces.append({**line, "x": x, "y": y, "opacity": 0.25, "line": {"width": 1, "color": colour(place)}})
        x, y = _scaled(middle(finalist), finalist, over_time)
        strong = {"name": label(finalist.name), "hoverinfo": "name+x+y", "line": {"width": 2.4, "color": colour(place)}}
        traces.append({**line, **strong, "x": x, "y": y})
    drawn = layout(height=320)
    step = "samples, in steps of the script as written" if has_sizes(result) else "training step"
    drawn["xaxis"].update(title=title("time in training steps [s]" if over_time else step), nticks=6)
    drawn["yaxis"].update(title=title(result.metric.label), automargin=True, nticks=6, hoverformat=".4f")
    drawn["shapes"] = [_line(result.goals.default)]
    drawn["margin"].update(b=44)
    return {"data": traces, "layout": drawn}


def middle(finalist: Finalist) -> list[tuple[int, float]]:
    """The median over the seeds at each step that all of them have."""
    values: dict[int, list[float]] = {}
    for points in finalist.curves:
        for step, value in points:
            values.setdefault(step, []).append(value)
    return [(step, median(found)) for step, found in sorted(values.items()) if len(found) == len(finalist.curves)]


def has_sizes(result: RaceResult) -> bool:
    """Whether batch sizes were raced."""
    return any(finalist.role == "batch" for finalist in result.finalists)


def _scaled(
    points: Sequence[tuple[int, float]], finalist: Finalist, over_time: bool
) -> tuple[list[float], list[float]]:
    samples = Arm.parse(finalist.arm).growth if finalist.arm else 1.0
    scale = finalist.step_s if over_time else samples
    return [step * scale for step, _ in points], [value for _, value in points]


def _line(at: float) -> Figure:
    dashes = {"width": 1.4, "dash": "dot", "color": "var(--muted)"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at, "line": dashes}


def times(result: RaceResult) -> Figure:
    """Time to the goal of every run; one that never came there is an open triangle where it ended."""
    traces: list[Figure] = []
    count = len(result.finalists)
    for place, finalist in enumerate(result.finalists):
        for came, symbol in ((True, "circle"), (False, "triangle-right-open")):
            runs = [run for run in finalist.runs if (run.crossings[DEFAULT] is not None) is came]
            at = [run.time_s(DEFAULT) or run.spent_s for run in runs]
            said = "" if came else "not there after "
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": at,
                    "y": [count - place] * len(at),
                    "hovertext": [f"seed {run.seed}: {said}{numbers.seconds(t)}" for run, t in zip(runs, at)],
                    "hoverinfo": "text",
                    "marker": {"symbol": symbol, "size": 10, "color": colour(place), "opacity": 0.75},
                }
            )
        if (centre := finalist.median_s[DEFAULT]) is not None:
            bar = {"symbol": "line-ns-open", "size": 26, "color": colour(place), "line": {"width": 3}}
            said = f"median {race_words.time_to_goal(finalist)}"
            mark: Figure = {"type": "scatter", "mode": "markers", "hovertext": [said], "hoverinfo": "text"}
            traces.append({**mark, "x": [centre], "y": [count - place], "marker": bar})
            traces += _interval(finalist, count - place, place)
    drawn = layout(height=70 + 46 * count)
    drawn["xaxis"].update(title=title("time to the goal [s]"), rangemode="tozero", nticks=6)
    names = [label(finalist.name) for finalist in result.finalists]
    ticks = {"tickvals": [count - place for place in range(count)], "ticktext": names}
    drawn["yaxis"].update(automargin=True, showgrid=False, range=[0.4, count + 0.6], **ticks)
    return {"data": traces, "layout": drawn}


def _interval(finalist: Finalist, height: float, place: int) -> list[Figure]:
    """The median's interval as a line below the runs; one that ends with never goes to the last run."""
    ends = finalist.median_ends_s[DEFAULT]
    if ends is None or ends[0] is None:
        return []
    last = max(run.time_s(DEFAULT) or run.spent_s for run in finalist.runs) if ends[1] is None else ends[1]
    line = {"color": colour(place), "width": 2, "dash": "solid" if ends[1] is not None else "dot"}
    return [{"type": "scatter", "mode": "lines", "x": [ends[0], last], "y": [height - 0.28] * 2, "line": line}]


def speedups(result: RaceResult) -> list[Row]:
    """The finalists' speed-ups over the script as written, those with an interval, for the forest plot."""
    rows: list[Row] = []
    for finalist in result.finalists:
        found = finalist.vs_script.get(DEFAULT)
        if found is not None and found.speedup is not None and not found.indicative:
            rows.append(Row(finalist.name, "plan" if finalist.name == result.winner else "screened", found.speedup))
    return rows


def sensitivity(screened: Screened) -> Figure:
    """The metric over the learning rate of one rule, a line for each rung, without ended runs and variations."""
    rungs: dict[int, list[tuple[float, float]]] = {}
    for one in screened.tried:
        if one.lr is not None and one.final is not None and not one.varies:
            rungs.setdefault(one.steps, []).append((one.lr, one.final))
    traces: list[Figure] = []
    for place, (steps, points) in enumerate(sorted(rungs.items())):
        points.sort()
        strength = 0.45 + 0.55 * (place + 1) / len(rungs)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [rate for rate, _ in points],
                "y": [value for _, value in points],
                "opacity": strength,
                "hovertext": [f"{steps} steps, rate {rate:.3g}: {value:.4g}" for rate, value in points],
                "hoverinfo": "text",
                "line": {"width": 1.6, "color": "var(--candidate)"},
                "marker": {"size": 7, "color": "var(--candidate)"},
            }
        )
    drawn = layout(height=220)
    drawn["title"] = {"text": label(screened.words), "font": {"size": 13}, "x": 0.02, "y": 0.97}
    drawn["margin"].update(t=30, b=44)
    drawn["xaxis"].update(title=title("learning rate"), type="log", **_decades(rungs))
    drawn["yaxis"].update(automargin=True, nticks=5)
    return {"data": traces, "layout": drawn}


def _decades(rungs: dict[int, list[tuple[float, float]]]) -> Figure:
    """Whole decades as ticks, or the tried rates themselves where they span less than one."""
    rates = sorted({rate for points in rungs.values() for rate, _ in points})
    if not rates:
        return {}
    low, high = log10(rates[0]), log10(rates[-1])
    ticks = [10.0**power for power in range(int(low) - 2, int(high) + 2) if low - 0.2 <= power <= high + 0.2]
    ticks = ticks or [rates[0], rates[-1]]
    return {"tickvals": ticks, "ticktext": [f"{tick:.2g}" for tick in ticks], "range": [low - 0.15, high + 0.15]}


def range_test(found: RangeTest) -> Figure:
    """The smoothed loss over the growing rate, with the steepest fall and the edge as lines."""
    line: Figure = {"type": "scatter", "mode": "lines", "line": {"width": 2, "color": "var(--candidate)"}}
    x, y = [rate for rate, _ in found.points], [loss for _, loss in found.points]
    drawn = layout(height=240)
    drawn["xaxis"].update(title=title("learning rate"), type="log", nticks=6, exponentformat="power")
    drawn["yaxis"].update(title=title("training loss, smoothed"), automargin=True, nticks=5)
    drawn["margin"].update(b=44)
    upright = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 1.2, "color": "var(--muted)"}}
    drawn["shapes"] = [{**upright, "x0": at, "x1": at} for at in (found.steepest, found.edge)]
    return {"data": [{**line, "x": x, "y": y}], "layout": drawn}
