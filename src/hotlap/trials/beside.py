"""Trials side by side, where nothing is timed: start-up is most of what they take, and other cores can do that.

Then their threads go to sleep where they would wait for each other, see `environment.UNTIMED`: those that spin
instead keep the cores from whoever has work to do, and two trainings that share their cores take five times as long.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from statistics import median

from hotlap.records import Facts, Outcome, Recording, Trial
from hotlap.room import room
from hotlap.trials.launch import stop_all
from hotlap.trials.runner import Runner

_MOST = 8
_COPIES = 2.0  # of a training's memory: what is compared is held beside it
_CONTEXT_BYTES = 1 << 30  # of a device, for every process that uses it
_TICK_S = 0.05
_STEPS = 10  # of an arm, roughly: a training that starts up in less time needs cores of its own
_IN_ORDER = (Outcome.BUDGET, Outcome.ENDED)


def room_for(observed: Recording) -> int:
    """How many trials may be there at once, by what the observed run showed."""
    facts = observed.facts
    assert facts is not None
    if facts.world_size > 1 or observed.processes > 1 or not observed.startup_s:
        return 1  # ranks meet at a port of their own
    on_device = observed.cuda_peak_bytes or 0  # what is compared of it is kept on the host
    cores = int(min(facts.machine.cores, facts.machine.quota or facts.machine.cores))
    fitting = min(_MOST, cores, _fit(room()[0], _COPIES * observed.peak_bytes + on_device))
    if facts.is_cuda:
        fitting = min(fitting, _fit(device_room(), _COPIES * on_device + _CONTEXT_BYTES))
    elif observed.startup_s < _STEPS * median(observed.steps.total_s):
        fitting = min(fitting, cores // facts.threads)
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
            trial, record = asked[ended], ended.result()
            if record.outcome in _IN_ORDER and record.wall_s < trial.limit_s:
                yield trial, record
            else:
                again.append(trial)
    yield from ((trial, runner.run(trial, facts)) for trial in again)


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
