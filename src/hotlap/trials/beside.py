"""Trials side by side: what is not timed runs at once, and what is timed starts up at once and trains one by one.

Start-up is most of what a trial takes: imports, data, a device's libraries. Other cores can do that meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

from hotlap.records import Facts, Outcome, Recording, Trial
from hotlap.room import room
from hotlap.trials.launch import stop_all
from hotlap.trials.load import Counters, load
from hotlap.trials.progress import GO
from hotlap.trials.runner import Runner

_MOST = 8
_ARM_STEPS = 10  # roughly, of an arm of the learning check
_COPIES = 2.0  # of a training's memory: what is compared is held beside it
_CONTEXT_BYTES = 1 << 30  # of a device, for every process that uses it
_TICK_S = 0.05
_IN_ORDER = (Outcome.BUDGET, Outcome.ENDED)
_WAITS = b'"kind":"waits"'


def room_for(observed: Recording) -> int:
    """How many trials may be there at once, by what the observed run showed."""
    facts = observed.facts
    assert facts is not None
    step_s = median(observed.steps.total_s[1:] or observed.steps.total_s)
    if facts.world_size > 1 or observed.processes > 1 or not observed.startup_s:
        return 1  # ranks meet at a port of their own
    if not facts.is_cuda and observed.startup_s < _ARM_STEPS * step_s:
        return 1  # its steps take the cores that others would start up on
    on_device = observed.cuda_peak_bytes or 0  # what is compared of it is kept on the host
    fitting = min(_MOST, facts.machine.cores, _fit(room()[0], _COPIES * observed.peak_bytes + on_device))
    if facts.is_cuda:
        fitting = min(fitting, _fit(device_room(), _COPIES * on_device + _CONTEXT_BYTES))
    return max(1, fitting)


def _fit(room_bytes: int, each_bytes: float) -> int:
    return int(room_bytes / each_bytes) if each_bytes else _MOST


def device_room() -> int:
    """Bytes that are free on the NVIDIA GPU with the least; 0 where no driver tells."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return min((int(pynvml.nvmlDeviceGetMemoryInfo(handle).free) for handle in handles), default=0)
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()


def run(runner: Runner, trials: Sequence[Trial], facts: Facts | None, most: int) -> Iterator[tuple[Trial, Recording]]:
    """Run trials of which nothing is timed; one that failed in company is run again by itself.

    Args:
        runner: Runs a trial.
        trials: Independent of each other.
        facts: Of the training.
        most: How many at once.

    Yields:
        Each as it ends.
    """
    if most == 1 or len(trials) == 1:
        yield from ((trial, runner.run(trial, facts)) for trial in trials)
        return
    again: list[Trial] = []
    with _started(runner, trials, facts, most) as asked:
        for ended in as_completed(asked):
            if (record := ended.result()).outcome in _IN_ORDER:
                yield asked[ended], record
            else:
                again.append(asked[ended])
    yield from ((trial, runner.run(trial, facts)) for trial in again)


def in_turn(
    runner: Runner, trials: Sequence[Trial], facts: Facts | None, most: int, told: Callable[[Trial], None]
) -> Iterator[tuple[Trial, Recording]]:
    """Run timed trials in their order: they start up together, and each trains while the others wait.

    Args:
        runner: Runs a trial.
        trials: In the order in which they train.
        facts: Of the training.
        most: How many may be there at once.
        told: Of each whose turn it is.

    Yields:
        Each, in order; those that failed in company come last, run again by themselves.
    """
    for first in range(0, len(trials), most):
        group = trials[first : first + most]
        if len(group) == 1:
            told(group[0])
            yield group[0], runner.run(group[0], facts)
        else:
            yield from _together(runner, group, facts, told)


def _together(
    runner: Runner, group: Sequence[Trial], facts: Facts | None, told: Callable[[Trial], None]
) -> Iterator[tuple[Trial, Recording]]:
    again: list[Trial] = []
    waiting = [replace(trial, options={**trial.options, "waits": True}) for trial in group]
    with _started(runner, waiting, facts, len(group)) as asked:
        while not all(future.done() or _waits(runner, trial) for future, trial in asked.items()):
            time.sleep(_TICK_S)
        for trial, (future, _) in zip(group, asked.items(), strict=True):
            told(trial)
            before, began = Counters.read(), time.monotonic()
            go = _folder(runner, trial) / GO
            while not future.done():
                if not go.exists() and _waits(runner, trial):
                    with suppress(FileNotFoundError):  # it starts again, with a folder that it was refused
                        go.touch()
                wait([future], timeout=_TICK_S)
            taken = load(before, Counters.read(), time.monotonic() - began)
            record = replace(future.result(), trial=trial, load=taken)
            if record.outcome in _IN_ORDER and _waits(runner, trial):
                yield trial, record
            else:  # it failed for lack of room or of a port, maybe, or trained while others started up
                again.append(trial)
    for trial in again:
        told(trial)
        yield trial, runner.run(trial, facts)


def _folder(runner: Runner, trial: Trial) -> Path:
    return runner.out / "trials" / trial.id


def _waits(runner: Runner, trial: Trial) -> bool:
    """Whether it has started up and waits, or has waited, for its turn."""
    return any(_WAITS in path.read_bytes() for path in _folder(runner, trial).glob("journal-*.jsonl"))


@contextmanager
def _started(
    runner: Runner, trials: Sequence[Trial], facts: Facts | None, most: int
) -> Generator[dict[Future[Recording], Trial]]:
    """The trials under way; all are ended if an exception leaves the block."""
    with ThreadPoolExecutor(most) as pool:
        asked = {pool.submit(runner.run, trial, facts): trial for trial in trials}
        try:
            yield asked
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while running := [future for future in asked if not future.done()]:
                stop_all()
                wait(running, timeout=_TICK_S)
            raise
