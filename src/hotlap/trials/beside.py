"""Trials side by side, where nothing is timed: most of what they take is start-up, which other cores can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from statistics import median

from hotlap.records import Facts, Outcome, Recording, Trial
from hotlap.room import device_room, room
from hotlap.trials.launch import stop_all
from hotlap.trials.runner import Runner

_MOST = 8
_ARM_STEPS = 10  # roughly, of an arm of the learning check
_COPIES = 2.0  # of a training's memory: what is compared is held beside it
_CONTEXT_BYTES = 1 << 30  # of a device, for every process that uses it
_STOP_TICK_S = 0.2


def room_for(observed: Recording) -> int:
    """How many arms of the learning check may run at once, by what the observed run showed."""
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


def run(runner: Runner, trials: Sequence[Trial], facts: Facts | None, most: int) -> Iterator[tuple[Trial, Recording]]:
    """Run them, so many at once, each told as it ends; one that failed in company is run again by itself.

    Args:
        runner: Runs a trial.
        trials: Independent of each other.
        facts: Of the training.
        most: How many at once.
    """
    if most == 1 or len(trials) == 1:
        yield from ((trial, runner.run(trial, facts)) for trial in trials)
        return
    again: list[Trial] = []
    with ThreadPoolExecutor(most) as pool:
        asked = {pool.submit(runner.run, trial, facts): trial for trial in trials}
        try:
            for ended in as_completed(asked):
                if (record := ended.result()).outcome in (Outcome.BUDGET, Outcome.ENDED):
                    yield asked[ended], record
                else:
                    again.append(asked[ended])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while running := [future for future in asked if not future.done()]:
                stop_all()
                wait(running, timeout=_STOP_TICK_S)
            raise
    yield from ((trial, runner.run(trial, facts)) for trial in again)
