"""The largest batch that fits: grown in trials, each confined to the memory that there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import linear_regression, median

from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Facts, Loader, Outcome, Recording, Setup, Trial
from hotlap.records.views import GrownBatch, LargestBatch
from hotlap.room import HEADROOM, room

_STEPS = 3
_UNKNOWN = 1 << 60  # a device tells its size in the first trial
_MOST_TRIALS = 12
_CLOSE = 1.1  # of the largest that fits: a batch that fails is no further away
_SHORT_OF = 0.97  # of what the line promises is tried
_NO_MEMORY = (Outcome.HOST_OOM, Outcome.DEVICE_OOM, Outcome.SHARED_MEMORY, Outcome.KILLED)


def largest_batch(lab: Lab, facts: Facts, limit_bytes: int | None = None, setup: Setup = AS_WRITTEN) -> LargestBatch:
    """Grow the batches of the loader that trains, as long as the budget lasts.

    Args:
        lab: Where trials run.
        facts: Of the observed run.
        limit_bytes: What it is to fit into; None for what there is.
        setup: Under which it is to fit.
    """
    capacity, what = (_UNKNOWN, "the memory of the device") if facts.is_cuda else room()
    if limit_bytes:
        capacity, what = limit_bytes, "the limit that was asked for"
    loaders = [loader for loader in facts.loaders if loader.trains and loader.batch_size]
    if not loaders:
        why = "no DataLoader feeds the training, so there is no batch size to grow"
        if any(loader.trains for loader in facts.loaders):
            why = "the DataLoader that trains is given no batch size (a batch sampler of its own, or no batches)"
        return LargestBatch(int(capacity * (1 - HEADROOM)), what, (), None, None, None, why)
    growth = Growth(lab, loaders, capacity, what, facts.is_cuda, setup)
    growth.run()
    return growth.answer()


def grown(lab: Lab, facts: Facts, setup: Setup) -> tuple[LargestBatch, ...]:
    """The largest batch that fits, as written and under the setup: half of the time kept for that is each one's."""
    found: list[LargestBatch] = []
    for one in dict.fromkeys((AS_WRITTEN, setup)):
        lab.kept_s = 0.0 if found or not setup.settings else lab.kept_s / 2
        found.append(largest_batch(lab, facts, setup=one))
    return tuple(found)


@dataclass
class Growth:
    """The trials so far, and what they say of the next."""

    lab: Lab
    loaders: Sequence[Loader]
    capacity: int
    what: str
    is_cuda: bool
    setup: Setup = AS_WRITTEN
    trials: list[GrownBatch] = field(default_factory=list)
    stuck: str = ""
    """Why no other size can be tried."""
    found: bool = False
    """The largest that fits was found by running."""
    _cost: tuple[int, float, float] = (1, 0.0, 0.0)
    """Of the last trial that fitted: batch size, seconds apart from its steps, seconds per step."""

    @property
    def room_bytes(self) -> int:
        """What may be used."""
        return int(self.capacity * (1 - HEADROOM))

    @property
    def written(self) -> int:
        """The batch size that the script asks for."""
        return self.loaders[0].batch_size or 1

    @property
    def fits(self) -> int:
        """The largest that fits so far; 0 when none does."""
        return max((trial.batch_size for trial in self.trials if trial.fits), default=0)

    @property
    def fails(self) -> int | None:
        """The smallest that does not."""
        return min((trial.batch_size for trial in self.trials if not trial.fits), default=None)

    def run(self) -> None:
        """Try one size after the other."""
        size: int | None = self.written
        while size is not None and not self.stuck and len(self.trials) < _MOST_TRIALS:
            self.lab.trying(f"growing the batch: {size:,}")
            self._try(size)
            size = None if self.stuck else self.next_size()

    def _try(self, size: int) -> None:
        options = {
            "batch_size": size,
            "written": self.written,
            "loaders": " ".join(str(loader.index) for loader in self.loaders),
            "room_bytes": 0 if self.is_cuda else self.room_bytes,
        }
        limit_s = max(10.0, self.lab.left_s)
        record = self.lab.run(Trial(self.lab.next_id("grow"), "grow", self.setup, 0, 0, _STEPS, limit_s, dict(options)))
        seen = record.seen.get("growth")
        if record.outcome not in (Outcome.BUDGET, Outcome.ENDED) or seen is None or not record.steps.total_s:
            self._failed(size, record)
            return
        if self.is_cuda:
            self.capacity = min(seen["device_bytes"], self.capacity)
        if not seen["grown"] or (size != self.written and seen["samples"] and seen["samples"] != size):
            self.stuck = "the batches did not follow: something of the script's own makes them"
            return
        peak = seen["peak_bytes"]
        fits = peak <= self.room_bytes
        self.trials.append(GrownBatch(size, seen["samples"] or size, peak, fits, "" if fits else "over the limit"))
        step_s = median(record.steps.total_s)
        if fits:
            self._cost = (size, max(0.0, record.wall_s - sum(record.steps.total_s)), step_s)

    def _failed(self, size: int, record: Recording) -> None:
        if record.outcome in (*_NO_MEMORY, Outcome.CRASH):
            self.trials.append(GrownBatch(size, 0, None, False, f"{record.outcome.value}: {record.reason}"))
            return
        self.stuck = f"with a batch of {size:,} the script ended with {record.outcome.value}: {record.reason}"

    # -- the next one

    def next_size(self) -> int | None:
        """None when the largest is known closely enough, or there is no time for another trial."""
        fits, fails, promised = self.fits, self.fails, self.promised()
        if fails is not None and fails <= max(fits + 1, int(fits * _CLOSE)):
            self.found = True
            return None
        wanted = 4 * fits or max(1, (fails or 2) // 2)
        if promised is not None and promised < wanted:
            wanted = int(promised * _SHORT_OF)
            if fits and wanted <= int(fits * _CLOSE):  # it was tried
                self.found = True
                return None
        if fails is not None and not fits < wanted < fails:
            wanted = (fits + fails) // 2
        affordable = self._affordable(wanted)
        if affordable < wanted and affordable < int(1.5 * fits):
            return None
        size = self._even(min(wanted, affordable))
        self.found = size in {trial.batch_size for trial in self.trials}  # no multiple lies between
        return None if self.found else size

    def _even(self, size: int) -> int:
        """Down to a multiple of what the script asks for, from a few of them on."""
        return size - size % self.written if size >= 4 * self.written else size

    def _affordable(self, size: int) -> int:
        """The largest up to this whose trial would end before the budget does, by the time that the last one took."""
        last, start_s, step_s = self._cost
        if not step_s:
            return size
        spare_s = self.lab.left_s - 1.5 * start_s
        return max(0, min(size, int(last * spare_s / (step_s * (_STEPS + 1)))))

    def line(self) -> tuple[float, float] | None:
        """Bytes per sample, and those of no sample, by the trials that lived; None when they say too little."""
        points = [(trial.batch_size, trial.peak_bytes) for trial in self.trials if trial.peak_bytes]
        if len(points) < 2:
            return None
        slope, base = linear_regression([float(n) for n, _ in points], [float(peak) for _, peak in points])
        return (slope, base) if slope > 0 else None

    def promised(self) -> int | None:
        """The largest that fits by that line."""
        line = self.line()
        return None if line is None else max(0, int((self.room_bytes - line[1]) / line[0]))

    def answer(self) -> LargestBatch:
        """What was run, and what is only a line through it."""
        line, promised = self.line(), self.promised()
        beyond = None if self.found or promised is None or promised <= self.fits else promised
        if beyond is not None and self.fails is not None:
            beyond = min(beyond, self.fails - 1)
        return LargestBatch(
            room_bytes=self.room_bytes,
            room=self.what,
            trials=tuple(sorted(self.trials, key=lambda trial: trial.batch_size)),
            fits=self.fits or None,
            extrapolated=self._even(beyond) if beyond is not None else None,
            per_sample_bytes=line[0] if line else None,
            why_not=self.stuck,
        )
