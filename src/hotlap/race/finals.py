"""The finals: fresh paired seeds, and what they prove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from statistics import fmean

from hotlap.errors import HotlapError
from hotlap.race import compare
from hotlap.race.arm import Arm
from hotlap.race.budget import FIRST_SEEDS
from hotlap.race.compare import Comparison, FinalRun
from hotlap.race.curves import crossing
from hotlap.race.goals import DEFAULT, Goals
from hotlap.race.halving import NOTCH
from hotlap.race.result import Finalist
from hotlap.race.runs import Run, Wanted
from hotlap.race.trainings import Trainings
from hotlap.records import Setup
from hotlap.trials import blocks

RESOLUTION = NOTCH**0.5 - 1
"""Of a horizon as it was searched: less than that between two tuned arms may be the luck of the search."""


@dataclass
class Entry:
    """One arm of the finals while they run."""

    name: str
    role: str
    setup: Setup
    horizon: int
    """Steps that it takes; the whole training for the script as written."""
    arm: Arm | None = None
    runs: list[FinalRun] = field(default_factory=list)
    curves: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    startups_s: list[float] = field(default_factory=list)
    state_bytes: int | None = None
    dropped: bool = False

    @property
    def steps(self) -> int:
        """That a run is to take; 0 for the script's own end."""
        return 0 if self.role in ("variant", "layers") else self.horizon


def run_finals(trainings: Trainings, entries: Sequence[Entry], seeds: int, goals: Goals) -> str:
    """Train every entry on the same fresh seeds, each seed's runs adjacent at one place and in random order.

    Returns:
        Why there are fewer seeds than were planned; "" when there are not.
    """
    lab = trainings.lab
    for numbers in turns(seeds, trainings.at_once):
        live = [entry for entry in entries if not entry.dropped]
        cost_s = sum(cost(trainings, entry) for entry in live)
        ordered = [in_order(lab.seed, number, live) for number in numbers]
        wanted = [
            [Wanted(one.setup, "final", number, f"final {number} of {seeds}: {one.name}", one.steps) for one in order]
            for number, order in zip(numbers, ordered)
        ]
        runs = trainings.together(wanted, lambda cost_s=cost_s: lab.left_s >= cost_s)
        for (number, entry), run in zip(((n, one) for n, order in zip(numbers, ordered) for one in order), runs):
            if run is None:
                return f"the budget ended after {number - 1} of {seeds} seeds"
            if not entry.dropped:
                keep(trainings, entry, run, goals)
        if numbers[-1] == FIRST_SEEDS:
            drop_hopeless(trainings, [entry for entry in live if not entry.dropped])
    return ""


def turns(seeds: int, at_once: int) -> Iterator[range]:
    """The numbers of the seeds that are run before it is looked who is left: one, or all up to the next look."""
    begun = 1
    while begun <= seeds:
        last = begun if at_once == 1 else seeds if begun > FIRST_SEEDS else min(FIRST_SEEDS, seeds)
        yield range(begun, last + 1)
        begun = last + 1


def in_order(seed: int, number: int, entries: Sequence[Entry]) -> list[Entry]:
    """The entries in the random order of that seed."""
    by_setup = {entry.setup: entry for entry in entries}
    return [by_setup[setup] for setup in blocks.order(seed, number, [entry.setup for entry in entries])]


def cost(trainings: Trainings, entry: Entry) -> float:
    """What a run of it will take [s]."""
    return trainings.lab.cost_s(entry.setup, "race") if entry.runs else trainings.lab.cost_s(Setup(), "race")


def keep(trainings: Trainings, entry: Entry, run: Run, goals: Goals) -> None:
    """Note what a run of the finals came to."""
    curve = run.curve
    if not run.steps:
        if entry.role == "script":
            what = f"The untouched script took no step in the finals: {run.record.outcome.value}: {run.record.reason}."
            raise HotlapError("baseline-failed", what, fix="run it alone and look at its output")
        entry.dropped = True
        why = run.curve.stopped or run.record.outcome.value
        trainings.show(entry.name, said=why)
        trainings.lab.notes.append(f"{entry.name} is out of the finals: it took no step ({why})")
        return
    crossings = {name: crossing(curve, goal) for name, goal in goals.named.items()}
    record = run.record
    end = curve.final if isfinite(curve.final) else None
    final = FinalRun(record.trial.id, record.trial.seed, run.steps, run.step_s, end, crossings, curve.stopped)
    entry.runs.append(final)
    entry.curves.append(tuple((step, trainings.metric.shown(value)) for step, value in curve.points))
    if record.startup_s is not None:
        entry.startups_s.append(record.startup_s)
    if record.race is not None:
        entry.state_bytes = record.race.state_bytes
    shown = None if end is None else trainings.metric.shown(end)
    came = compare.reached(entry.runs, DEFAULT)
    trainings.show(entry.name, stage=f"finals, seed {len(entry.runs)}", value=shown, said=f"at the goal {came} times")


def drop_hopeless(trainings: Trainings, live: Sequence[Entry]) -> None:
    """Leave challengers that are three sigma behind the soonest; the script and its tuned rule stay."""
    best = min(live, key=lambda entry: compare.expected_s(entry.runs, DEFAULT) or float("inf"))
    for entry in live:
        if entry.role not in ("script", "incumbent") and entry is not best:
            entry.dropped = compare.hopeless(best.runs, entry.runs, DEFAULT)
            if entry.dropped:
                trainings.show(entry.name, said="far behind: no more seeds")


def judged(entries: Sequence[Entry], goals: Goals, every: int, grows: bool) -> list[Finalist]:
    """The finalists with everything that their runs prove.

    Args:
        entries: The script as written first, then its tuned rule.
        goals: Of the race.
        every: Steps between two points of a curve.
        grows: More of the metric is better.
    """
    script = entries[0]
    incumbent = next((entry for entry in entries if entry.role == "incumbent"), None)
    own = incumbent and own_best(script, incumbent)
    challengers = [entry for entry in entries if entry not in (script, incumbent)]
    others = [entry for entry in entries if entry is not script]
    rejected = {goal: _rejected(script, others, goal) for goal in goals.named}
    of_rule = _rejected(own, challengers, DEFAULT) if own else set[str]()
    return [
        _finalist(
            entry,
            script,
            own if entry in challengers else None,
            goals,
            (rejected, of_rule),
            _tie(script, entry, every),
            grows,
        )
        for entry in entries
    ]


def own_best(script: Entry, incumbent: Entry) -> Entry:
    """The script's own rule at its best: as written, where what half a training found is later in a whole one."""
    times = [compare.expected_s(entry.runs, DEFAULT) or inf for entry in (script, incumbent)]
    return incumbent if times[1] <= times[0] else script


def _rejected(reference: Entry, others: Sequence[Entry], goal: str) -> set[str]:
    """Names of those that Holm's correction over all of them leaves different at that goal."""
    return compare.holm({entry.name: compare.p_value(reference.runs, entry.runs, goal) for entry in others})


def _tie(script: Entry, entry: Entry, every: int) -> float:
    """Three per cent, or one interval of the coarser grid where that is more of the script's time to the goal."""
    came = [time_s for run in script.runs if (time_s := run.time_s(DEFAULT))]
    if not came:
        return compare.TIE
    steps = [points[0][0] for points in entry.curves if points] or [every]  # a curve's first point is one interval in
    intervals = (every * _step_s(script), min(steps) * _step_s(entry))
    return max(compare.TIE, max(intervals) / fmean(came))


def _step_s(entry: Entry) -> float:
    return fmean(run.step_s for run in entry.runs) if entry.runs else 0.0


def _finalist(
    entry: Entry,
    script: Entry,
    own: Entry | None,
    goals: Goals,
    rejected: tuple[dict[str, set[str]], set[str]],
    tie: float,
    grows: bool,
) -> Finalist:
    def against(reference: Entry | None, goal: str, held: set[str], bar: float = 0.0) -> Comparison | None:
        if reference is None or entry is reference or entry is script:
            return None
        return compare.compare(reference.runs, entry.runs, goal, rejected=entry.name in held, tie=tie, bar=bar)

    names = goals.named
    vs_script = {goal: found for goal in names if (found := against(script, goal, rejected[0][goal]))}
    ends = [run.final for run in entry.runs]
    known = [end for end in ends if end is not None]
    final = fmean(known) if len(known) == len(ends) and known else None
    return Finalist(
        name=entry.name,
        role=entry.role,
        arm=str(entry.arm) if entry.arm else "",
        setup=entry.setup,
        horizon=entry.horizon,
        runs=tuple(entry.runs),
        reached={goal: compare.reached(entry.runs, goal) for goal in names},
        median_s={goal: compare.median_s(entry.runs, goal) if entry.runs else None for goal in names},
        median_ends_s={goal: compare.median_ends_s(entry.runs, goal) for goal in names},
        expected_s={goal: compare.expected_s(entry.runs, goal) for goal in names},
        step_s=_step_s(entry) or float("nan"),
        final=None if final is None else (-final if grows else final),
        startup_s=fmean(entry.startups_s) if entry.startups_s else None,
        state_bytes=entry.state_bytes,
        vs_script=vs_script,
        vs_incumbent=against(own, DEFAULT, rejected[1], RESOLUTION),
        non_inferior=None
        if entry is script
        else compare.non_inferior(script.runs, entry.runs, goals.improvement, goals.sigma),
        curves=tuple(entry.curves),
    )


def chosen(finalists: Sequence[Finalist], simpler: Mapping[str, tuple[int, int]]) -> Finalist | None:
    """The winner; None when nothing is proven sooner than the script as written at a quality no worse.

    Of those that are, the soonest; but where it is not proven sooner than the script's own rule, tuned, and that one
    is itself proven, the script's own rule. Among challengers that no comparison separates the simpler one.

    Args:
        finalists: All of them.
        simpler: Name to what makes a challenger simple: 0 for torch's own, 1 for a library's; bytes of state.
    """
    proven = [f for f in finalists if (c := f.vs_script.get(DEFAULT)) and c.proven and f.non_inferior]
    if not proven:
        return None
    own = next((f for f in proven if f.role == "incumbent"), None)
    better = [f for f in proven if f.vs_incumbent is not None and f.vs_incumbent.proven]
    if own is not None and not better:
        return own
    pool = better or proven
    soonest = max(pool, key=_speed)
    equal = [f for f in pool if _speed(f) > _speed(soonest) / (1 + compare.TIE)]
    return min(equal, key=lambda f: (simpler.get(f.name, (1, 0)), -_speed(f)))


def _speed(finalist: Finalist) -> float:
    found = finalist.vs_script[DEFAULT].speedup
    return found.value if found else 0.0


def leader(finalists: Sequence[Finalist]) -> Finalist | None:
    """The one that was soonest over the script as written, proven or not."""
    compared = [finalist for finalist in finalists if finalist.vs_script.get(DEFAULT)]
    return max(compared, key=_speed, default=None)
