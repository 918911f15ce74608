"""The sentences of a race that the terminal and the page share."""

from __future__ import annotations

from hotlap.race.arm import Arm
from hotlap.race.compare import Comparison
from hotlap.race.goals import DEFAULT
from hotlap.race.result import Finalist, RaceResult, Screened
from hotlap.report import numbers

GOALS = {
    "default": "what four in five runs of the script as written come to",
    "strict": "their mean",
    "loose": "95 % of the improvement",
}
ROLES = {
    "script": "the script as written",
    "incumbent": "the script's own rule, with settings found by the same search",
    "challenger": "another rule",
    "variant": "the script with other arguments",
    "batch": "the script with batches of another size",
    "layers": "the script with layers of other sizes",
}


def speedup(found: Comparison | None) -> str:
    """A ratio of times to the goal, with what it rests on; "" for none."""
    if found is None or found.speedup is None:
        return ""
    if found.indicative:
        points = ", ".join(f"{ratio:.2f}" for ratio in found.ratios)
        return f"{_bound(found)}{found.speedup.value:.2f}x ({seeds(len(found.ratios))}: {points})"
    return f"{_bound(found)}{numbers.estimate(found.speedup)}"


def brief(found: Comparison | None) -> str:
    """The same for a narrow column, beside which the number of runs stands; a range where there is no interval."""
    if found is None or found.speedup is None:
        return ""
    inside = numbers.interval(found.speedup).rpartition(",")[0]
    return f"{_bound(found)}{numbers.centre(found.speedup)} ({inside})"


def _bound(found: Comparison) -> str:
    return {"at least": "\u2265 ", "about": "~ "}.get(found.bound, "")


def seeds(count: int) -> str:
    """A number of seeds."""
    return f"{count} seed{'' if count == 1 else 's'}"


def lead(result: RaceResult) -> str:
    """The answer in a word or two."""
    if result.winner:
        return "Sooner"
    found = result.speedup_vs_script
    if found is None:
        return "Nothing to gain" if result.nothing_to_gain else "No answer yet"
    if found.indicative:
        return "Indicative"
    return "No measurable difference" if found.reason == "no measurable difference" else "Nothing proven"


def body(result: RaceResult) -> str:
    """The answer's sentence without its lead."""
    first = result.finalist(result.winner or result.leader)
    if first is None or result.speedup_vs_script is None:
        return f"{result.reason}."
    if result.winner:
        return f"{speedup(result.speedup_vs_script)} to the goal with {named(first)}, which ends no worse."
    what = f"{named(first)} came to the goal soonest, {speedup(result.speedup_vs_script)} over the script"
    if result.speedup_vs_script.indicative:
        return f"{what}. So few seeds prove nothing; a race with more can, as --budget standard."
    return f"{what}; {result.reason}."


def effect(result: RaceResult) -> str:
    """What of it is owed to the rule, as against its settings; "" where there is no such comparison."""
    first = result.finalist(result.winner or result.leader)
    if first is None or first.role == "incumbent":
        return "All of it comes from the settings: the rule is the script's own." if first else ""
    found = result.speedup_vs_tuned_incumbent
    if found is None:
        return ""
    if first.role != "challenger":
        claim = (
            "more than settings bring" if found.proven else f"no more than settings bring was proven: {found.reason}"
        )
        return f"Against the script with its own rule tuned in its place: {speedup(found)}, {claim}."
    claim = "an effect of the rule" if found.proven else f"no proven effect of the rule: {found.reason}"
    return f"Against the script's own rule, tuned by the same search: {speedup(found)}, {claim}."


def named(finalist: Finalist) -> str:
    """Name and settings."""
    if finalist.role == "batch":
        return f"{finalist.name} in place of {Arm.parse(finalist.arm).of.partition('/')[0]}"
    return f"{finalist.name} ({finalist.arm})" if finalist.arm else finalist.name


def advice(result: RaceResult) -> str:
    """How to train with the winner; "" without one."""
    won = result.finalist(result.winner)
    if won is None:
        return ""
    if won.role == "variant":
        return f"Train with these arguments: {result.target} {won.name}"
    if won.role == "layers":
        return "Its checkpoints have other shapes than the script's: neither loads into the other."
    if won.role == "batch":
        return (
            f"It takes {won.horizon:,} steps where the script takes {result.steps:,}. The learning rate follows the"
            " size (of SGD in proportion, of Adam and RMSprop with the square root), and the second beta keeps its"
            " half-life in samples."
        )
    steps = f"Its schedule ends after {won.horizon:,} steps"
    if won.horizon >= result.steps:
        return f"{steps}, as long as the script trains."
    return f"{steps} of the script's {result.steps:,}: what comes after them is trained at the schedule's last rate."


def time_to_goal(finalist: Finalist, goal: str = DEFAULT) -> str:
    """Median time with its interval, or that it is never."""
    if not finalist.runs:
        return ""
    middle, ends = finalist.median_s[goal], finalist.median_ends_s[goal]
    told = [_or_never(time_s) for time_s in (middle, *(ends or (None, None)))]
    if ends is None or ends[0] is None:
        return told[0]
    units = {text.partition(" ")[2] for text in told} - {""}  # named once where it is the same
    low, high = (text.removesuffix(f" {unit}") for text in told[1:] for unit in units) if len(units) == 1 else told[1:]
    return f"{told[0]} ({low} to {high})"


def _or_never(time_s: float | None) -> str:
    return "never" if time_s is None else numbers.seconds(time_s)


def came(finalist: Finalist, goal: str = DEFAULT) -> str:
    """How many runs came to the goal."""
    return f"{finalist.reached[goal]}/{len(finalist.runs)}"


def value(number: float | None) -> str:
    """A value of the metric."""
    return "never there" if number is None else f"{number:.4g}"


def finals(finalist: Finalist) -> str:
    """What became of an arm in the finals, in one line."""
    said = [f"{came(finalist)} came to the goal", f"median {time_to_goal(finalist)}"]
    for found, of in ((finalist.vs_script.get(DEFAULT), "the script"), (finalist.vs_incumbent, "it tuned")):
        said += [f"{brief(found)} over {of}"] if found else []
    return ", ".join([*said, *(["ends worse"] if finalist.non_inferior is False else [])])


def quality(finalist: Finalist) -> str:
    """Whether it ends as well as the script as written."""
    return {True: "no worse", False: "worse", None: ""}[finalist.non_inferior]


def goals(result: RaceResult) -> str:
    """The three goals with what they are."""
    found = {name: getattr(result.goals, name) for name in GOALS}
    return "; ".join(f"{name} {value(found[name])} ({about})" for name, about in GOALS.items())


def tried(screened: Screened) -> str:
    """How many settings of a rule were tried; "" for a variant of the command line."""
    if all(one.lr is None for one in screened.tried):
        return ""
    settings = len({one.lr for one in screened.tried})
    return f"{settings} setting{'' if settings == 1 else 's'}" if settings else ""


def paces(screened: Screened) -> str:
    """What a step costs over the script's, and of a batch size what that is worth; "" where it was not timed."""
    said = [] if screened.step_ratio is None else [f"step {screened.step_ratio:.2f}x"]
    said += [] if screened.samples_ratio is None else [f"{screened.samples_ratio:.2f}x samples/s"]
    return ", ".join(said)


def settings(result: RaceResult, screened: Screened) -> str:
    """The arm of a rule: as it was in the finals, else as it was when it went out."""
    rule = screened.best.split(" ", 1)[0]
    return next((one.arm for one in result.finalists if one.arm and one.arm.split(" ", 1)[0] == rule), screened.best)


def method(result: RaceResult) -> list[str]:
    """How it was measured, in paragraphs."""
    runs = (
        "Every run is the script in a process of its own, on a seed of its own. The goals come from whole, untouched"
        f" runs: {goals(result)}. A run is at a goal when the median of three consecutive points of its curve is. The"
        f" curve is the {result.metric.words}, on the same grid of steps for every arm, with start-up and"
        " evaluation off the clock."
    )
    search = (
        "Each rule, the script's own among them, was searched in the same way: learning rates around where people"
        " begin, over schedules that were shortened as a whole, and then the horizon of its schedule. Those numbers"
        " rank and prove nothing."
    )
    proof = (
        "What is claimed comes from fresh seeds, on which all finalists ran beside each other. A speed-up is the"
        " geometric mean of paired ratios of time to the goal: the steps vary with the seed and the time of a step with"
        " the machine, and the interval holds both. Sign flips, corrected for the number of finalists, decide. Fewer"
        " than six seeds are called indicative, and prove nothing. A winner must also end no worse than the script as"
        " written."
    )
    sizes = (
        "Each batch size ran with the script's own rule and its whole schedule, over as many samples as the script"
        " takes. Between two points of a curve lie equally many samples, and arms are compared by time. A size was left"
        " out where some timed steps showed that it can be no sooner: a larger batch needs no fewer samples, a smaller"
        " one no fewer steps."
    )
    layers = (
        "Layers of torch's own were built with a larger size that this machine's units divide, the script's own rule"
        " and seeds beside it. What was no faster in some timed steps was left out: a larger network for its own sake"
        " is another question."
    )
    if any(one.samples_ratio for one in result.screened):
        return [runs, sizes, proof]
    if any(one.best for one in result.screened):
        return [runs, search, proof]
    return [runs, layers, proof] if any(one.step_ratio for one in result.screened) else [runs, proof]
