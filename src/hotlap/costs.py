"""What trials will probably take, by what those before them took."""

from __future__ import annotations

from dataclasses import dataclass, field

from hotlap.knobs import knob_by_id
from hotlap.records import AS_WRITTEN, Outcome, Recording, Setup

_FIRST_GUESS_S = 15.0
_CACHED = 0.5  # of what compiling adds to a trial; seen: 0.84 on a CPU, 0.43 on a GPU
_IN_ORDER = (Outcome.BUDGET, Outcome.ENDED)


@dataclass
class Costs:
    """Of the trials of one tune."""

    _known: dict[tuple[str, Setup], float] = field(default_factory=dict)
    _expected: set[str] = field(default_factory=set)

    def expect(self, purpose: str, cost_s: float) -> None:
        """What one of the script as written should take, until one has been run."""
        self._known[purpose, AS_WRITTEN] = cost_s
        self._expected.add(purpose)

    def start_sooner(self, by_s: float) -> None:
        """A trial started sooner than the observed run, which found no file in memory: a timed one will as well."""
        if "time" in self._expected:
            self._known["time", AS_WRITTEN] -= by_s

    def learn(self, record: Recording, cost_s: float) -> None:
        """What one took; a failed one says nothing of what a whole one takes."""
        if record.outcome not in _IN_ORDER:
            return
        kind = "rounds" if record.trial.arms else record.trial.purpose
        setup = record.trial.setup
        self._expected -= {kind} if not setup.settings else set()
        least_s = min(cost_s, self._known.get((kind, AS_WRITTEN), cost_s))
        if starts_s(setup) and (kind, setup) not in self._known:  # the next finds it compiled
            cost_s -= _CACHED * (cost_s - least_s)
        self._known[kind, setup] = cost_s

    def of(self, setup: Setup, purpose: str) -> float:
        """As one of its kind that is most like it, and what more it has to compile [s]."""
        known = {s: cost_s for (kind, s), cost_s in self._known.items() if kind == purpose}
        known.setdefault(AS_WRITTEN, self._known.get(("time", AS_WRITTEN), _FIRST_GUESS_S))
        near = max((s for s in known if set(s.settings) <= set(setup.settings)), key=lambda s: len(s.settings))
        added = setup.less(near)
        fixed = {area for setting in near.settings for area in knob_by_id(setting.knob).fixes}
        anew = any(knob_by_id(setting.knob).area in fixed for setting in added.settings)  # another graph to compile
        return known[near] + starts_s(setup if anew else added)


def starts_s(setup: Setup) -> float:
    """What its settings add to the start of their first trial [s]."""
    return sum(knob_by_id(setting.knob).starts_s(setting.value) for setting in setup.settings)
