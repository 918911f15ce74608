"""The lab: runs trials and blocks of them within the budget, and writes down everything that happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from hotlap.costs import Costs, starts_s
from hotlap.errors import HotlapError
from hotlap.logbook import Logbook
from hotlap.observed import OBSERVED_STEPS, check_observed
from hotlap.records import AS_WRITTEN, Facts, Outcome, Pair, Recording, Rejected, Setup, Trial
from hotlap.trials import beside, blocks
from hotlap.trials.blocks import Window
from hotlap.trials.runner import Cluster, Runner
from hotlap.verify.gates import ArmRecord

_SHARED = 0.6  # of its time that one of several at once saves the others
_TIMED_S = 4.0  # that a trial trains, roughly
_STAGES = ("noise", "screen", "combine", "confirm", "leave-one-out", "bound", "admission", "losses")


@dataclass
class Lab:
    """One tune's trials.

    Args:
        runner: Where trials run.
        logbook: Where every event goes.
        budget_s: Time for everything.
        seed: All randomness of the tune comes from it.
        on_trying: Told what is being run from now on, and the time spent so far [s].
        learnt: Told what was found out.
        clock: Tells the time [s]; a replay passes its own.
        known: Recordings of an interrupted tune; a trial that is among them is not run again.
        closings: Of an interrupted tune: the numbers of confirmation pairs of each setup after which a budget ended.
        losses_seen: Of an interrupted tune: the further looks at losses, see `Logbook.losses_seen`.
        before_s: What it took.
    """

    runner: Runner
    logbook: Logbook
    budget_s: float
    seed: int
    on_trying: Callable[[str, float], None] = lambda text, spent_s: None
    learnt: Callable[[str], None] = lambda text: None
    clock: Callable[[], float] = time.monotonic
    facts: Facts | None = None
    known: list[Recording] = field(default_factory=list)
    closings: dict[Setup, tuple[int, ...]] = field(default_factory=dict)
    losses_seen: dict[Setup, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    before_s: float = 0.0
    recordings: dict[str, Recording] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut_short: str = ""
    ceiling: dict[str, float] = field(default_factory=dict)
    """Measured limits of the machine, see `ceilings.Ceilings`."""
    started_s: float = field(init=False)
    start_s: float = 0.0
    """From the start of the script as written to its first step, as observed."""
    kept_s: float = 0.0
    """Of the budget, for what comes last."""
    at_once: int = 1
    """Trials that may run at once, of those that are not timed."""
    cluster: Cluster | None = None
    """Where trials that do not need each other run at once although they are timed, each at a place of its own."""
    costs: Costs = field(default_factory=Costs)
    _count: int = 0
    _blocks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The tune begins; new trials are numbered after those that are known, used or not."""
        self.started_s = self.clock()
        self._count = max((int(record.trial.id.split("-")[0]) for record in self.known), default=0)

    # -- time

    @property
    def spent_s(self) -> float:
        """Time since the tune began."""
        return self.clock() - self.started_s

    @property
    def left_s(self) -> float:
        """Time to the end of what may be spent by now."""
        return self.budget_s - self.kept_s - self.spent_s

    def cost_s(self, setup: Setup, purpose: str = "time") -> float:
        """What a trial will probably take."""
        return self.costs.of(setup, purpose)

    def start_limit_s(self, setup: Setup) -> float:
        """Time to its first step after which a changed script is given up, for it has to leave some to the others."""
        if not setup.settings:
            return 0.0
        return self.start_s + max(90.0, self.budget_s / 4, 1.5 * starts_s(setup))

    def trying(self, text: str) -> None:
        """Say what is being run from now on."""
        self.on_trying(text, self.spent_s)

    def learn_ceiling(self) -> None:
        """Measure what the machine can do at best; after the observed run, for the script may have a typo."""
        self.trying("measuring what the machine can do at best")
        self.ceiling = self.runner.ceiling()
        self.logbook.append("ceiling", ceiling=self.ceiling)

    # -- single trials

    def next_id(self, purpose: str) -> str:
        """Trials are numbered in the order in which they run."""
        self._count += 1
        return f"{self._count:04d}-{purpose}"

    def run(self, trial: Trial) -> Recording:
        """Run one trial and write it down."""
        return self.run_all([trial])[0]

    def run_all(self, trials: Sequence[Trial]) -> list[Recording]:
        """Run trials that do not need each other, as many at once as there is room for, and write them down.

        Whoever times trials asks for them one at a time.
        """
        ended: dict[str, Recording] = {}
        for trial in trials:
            if (record := self.recorded(trial)) is not None:
                self.known.remove(record)
                ended[trial.id] = record
        costs_s = {name: record.wall_s for name, record in ended.items()}  # affordable is what it was then
        fresh, begun = [trial for trial in trials if trial.id not in ended], self.clock()
        for trial, record in beside.run(self.runner, fresh, self.facts, self.at_once):
            self.logbook.append("recording", recording=record, spent_s=self.spent_s)
            ended[trial.id] = record
        each_s = (self.clock() - begun) / max(1, len(fresh))
        for trial in trials:
            self.note(ended[trial.id], costs_s.get(trial.id, each_s))
        return [ended[trial.id] for trial in trials]

    def note(self, record: Recording, cost_s: float) -> None:
        """Keep what a trial recorded, and what it took."""
        start_s, compiles = record.startup_s or self.start_s, starts_s(record.trial.setup) > 0
        if record.trial.purpose == "time" and start_s < self.start_s and not compiles:
            self.costs.start_sooner(self.start_s - start_s)
            self.start_s = start_s
        self.costs.learn(record, cost_s)
        self.recordings[record.trial.id] = record
        self.notes += [note for note in record.notes if note not in self.notes]

    def recorded(self, trial: Trial) -> Recording | None:
        """What an interrupted tune recorded of such a trial; numbers and time limits follow from its budget."""
        bounds = {"id": trial.id, "limit_s": trial.limit_s, "start_limit_s": trial.start_limit_s}
        return next((k for k in self.known if replace(k.trial, **bounds) == trial), None)

    def arms(self, trials: Sequence[Trial]) -> list[tuple[Recording, ArmRecord]]:
        """Run arms of the learning check."""
        return [(record, self.runner.arm(record.trial)) for record in self.run_all(trials)]

    def observe(self, limit_s: float) -> Recording:
        """The observed run, which finds out what the script is made of.

        Raises:
            HotlapError: The script failed, or did not train long enough to be timed.
        """
        record = self._observed(limit_s)
        if record.outcome is Outcome.BUDGET and len(record.steps.total_s) < OBSERVED_STEPS:
            record = self._observed(max(4 * limit_s, self.left_s / 3))  # slow steps, or an evaluation at the start
        check_observed(record, Path(self.runner.target.name), self.runner.out / "trials" / record.log)
        self.facts = record.facts
        # Until the first has run: an arm starts up and takes a few steps, a timed trial more; one was slow: counted.
        self.start_s, step_s = record.startup_s or 0.0, median(record.steps.total_s[1:])
        self.at_once = beside.room_for(record) if self.runner.shares else 1
        shared = max(1.0, _SHARED * self.at_once)  # of starting up; cores that train are shared by none
        self.costs.expect("candidate", self.start_s / shared + 10 * step_s)
        self.costs.expect("time", self.start_s + max(_TIMED_S, 20 * step_s))
        self.logbook.append("facts", facts=record.facts)
        return record

    def observe_version(self, setup: Setup, limit_s: float) -> Facts:
        """The same of another version of the script, which the setup names.

        Raises:
            HotlapError: It failed, or took no training step.
        """
        record = self.run(Trial(self.next_id("observe"), "observe", setup, 0, 0, 0, limit_s))
        if record.facts is None or record.outcome not in (Outcome.BUDGET, Outcome.ENDED):
            log = self.runner.out / "trials" / record.log
            what = f"{setup} ended with {record.outcome.value}: {record.reason}. Its output is in {log}."
            raise HotlapError("script-failed", what, fix="make it run by itself first")
        return record.facts

    def _observed(self, limit_s: float) -> Recording:
        return self.run(Trial(self.next_id("observe"), "observe", AS_WRITTEN, 0, 0, 0, limit_s))

    # -- blocks

    def block(self, stage: str, reference: Setup, candidates: Sequence[Setup], window: Window) -> list[Pair]:
        """Run the reference and the candidates once each; a candidate that fails is rejected, with the reason.

        Raises:
            HotlapError: The reference failed twice.
        """
        block = self.next_block(stage)
        order = blocks.order(self.seed, block, [reference, *candidates])
        self.forget_torn([self.timing(setup, block, window) for setup in order])
        records: dict[Setup, Recording] = {}
        for setup in order:
            self.trying(f"{stage}: {setup}")
            records[setup] = self._timed(setup, block, window)
        if blocks.unusable(records[reference]):
            records[reference] = self._timed(reference, block, window)
        if why := blocks.unusable(records[reference]):
            raise HotlapError(
                "baseline-failed",
                f"{reference} could not be timed twice in a row: {why}.",
                fix="run it alone and look at its output",
            )
        return self._paired(stage, records, reference, candidates)

    def repeat(self, setup: Setup, window: Window) -> Pair | None:
        """A pair of the same setup twice, which shows the noise; None when one of the two could not be timed."""
        assert self.facts is not None
        block = self.next_block("noise")
        first, second = (self._timed(setup, block, window) for _ in range(2))
        if blocks.unusable(first) or blocks.unusable(second):
            return None
        pair = blocks.paired(first, second, self.facts, "noise")
        self.keep(pair)
        return pair

    def next_block(self, stage: str) -> int:
        """Blocks are numbered within their stage, so that a bigger budget's further ones shift no others."""
        self._blocks[stage] = self._blocks.get(stage, 0) + 1
        return 100 * _STAGES.index(stage) + self._blocks[stage]

    def forget_torn(self, trials: Sequence[Trial]) -> None:
        """Neighbours in a block, or in a seed, are neighbours in time: what is not known whole is run anew, whole."""
        found = [self.recorded(trial) for trial in trials]
        if None in found:
            self.known = [record for record in self.known if record not in found]

    def timing(self, setup: Setup, block: int, window: Window) -> Trial:
        """A trial of a block, before it has a number."""
        return Trial(
            id="",
            purpose="time",
            setup=setup,
            seed=self.seed * 1000 + block,
            block=block,
            steps=window.warmup + window.steps,
            limit_s=window.limit_s or max(90.0, self.budget_s / 4),
            start_limit_s=self.start_limit_s(setup),
            options={"peak_after": window.warmup},
        )

    def _timed(self, setup: Setup, block: int, window: Window) -> Recording:
        return self.run(replace(self.timing(setup, block, window), id=self.next_id("time")))

    def _paired(
        self, stage: str, records: dict[Setup, Recording], reference: Setup, candidates: Sequence[Setup]
    ) -> list[Pair]:
        assert self.facts is not None
        pairs: list[Pair] = []
        for setup in candidates:
            if why := blocks.unusable(records[setup]):
                self.reject(Rejected(setup.less(reference) if setup.less(reference).settings else setup, why))
                continue
            pair = blocks.paired(records[reference], records[setup], self.facts, stage)
            self.keep(pair)
            pairs.append(pair)
        return pairs

    def keep(self, pair: Pair) -> None:
        """Write a pair down."""
        self.pairs.append(pair)
        self.logbook.append("pair", pair=pair)

    def close(self, setup: Setup, pairs: int) -> None:
        """Write down that the budget ended after so many confirmation pairs, before they are looked at."""
        self.closings[setup] = (*self.closed(setup), pairs)
        self.logbook.append("closed", setup=setup, pairs=pairs)

    def closed(self, setup: Setup) -> tuple[int, ...]:
        """The numbers of confirmation pairs after which a budget has ended, see `stats.looks`."""
        return self.closings.get(setup, ())

    def reject(self, rejected: Rejected) -> None:
        """Write down why a setup is out."""
        self.rejected.append(rejected)
        self.logbook.append("rejected", rejected=rejected)
        self.learnt(f"out: {rejected.setup} ({rejected.reason})")

    def affordable(self, setups: Collection[Setup], reserve_s: float = 0.0) -> bool:
        """Whether trials of these setups would end before the budget does, with so much to spare."""
        return sum(self.cost_s(setup) for setup in setups) + reserve_s < self.left_s
