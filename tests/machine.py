"""A laboratory without a clock on the wall: trials are drawn from recordings, and what setups do is planted."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from math import exp
from pathlib import Path

from facts import facts

from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.records import AS_WRITTEN, PHASES, Facts, Outcome, Recording, Result, Setup, Steps, Trial
from hotlap.search.candidates import Request
from hotlap.target import Target
from hotlap.trials.recorded import RecordedRunner
from hotlap.tune import tune

STEP_S = 0.05
FACTS = facts(loaders=(), epoch_steps=None, machine={"flags": ("avx512_bf16",), "cores": 2, "threads": 2}, threads=2)
STEADY = replace(FACTS, faults_per_step=0.0)
"""Settings may be switched while the script trains."""


def recording(
    noise: float, number: int, steps: int = 120, step_s: float = STEP_S, startup_s: float = 3.0, faults: float = 0.0
) -> Recording:
    """One run of the untouched script; a quarter of each step is forward, a quarter update, the rest backward."""
    factor = exp(random.Random(number).gauss(0, noise / 2**0.5))
    total = [step_s * factor] * steps
    phases = {phase: tuple(0.0 for _ in total) for phase in PHASES}
    phases |= {name: tuple(t / 4 for t in total) for name in ("forward", "optimizer")}
    phases["backward"] = tuple(t / 2 for t in total)
    return Recording(
        trial=Trial(f"{number:04d}", "time", AS_WRITTEN, 0, 0, 0, 0.0),
        outcome=Outcome.ENDED,
        reason="",
        exit_code=0,
        wall_s=startup_s + step_s * steps,
        startup_s=startup_s,
        steps=Steps(
            total_s=tuple(map(sum, zip(*phases.values(), strict=True))),
            phases_s=phases,
            samples=(32,) * steps,
            losses=tuple(2.0 - i / steps for i in range(steps)),
            faults=(faults,) * steps,
            compiles=(0,) * steps,
        ),
        epoch_start_s=0.0,
        evaluation_s=0.0,
        evaluations=0,
        warmup_steps=10,
        device_phases_s={},
        peak_bytes=1 << 28,
        cuda_peak_bytes=None,
        processes=1,
        facts=None,
        failed_probes={},
        failed_knobs={},
        installed_knobs=(),
        notes=(),
        log="",
    )


class Machine:
    """What the tune is given in place of a machine."""

    def __init__(
        self,
        folder: Path,
        speed: Callable[[Setup], float],
        error: Callable[[Setup], float] = lambda setup: 0.0,
        noise: float = 0.02,
        start_s: Callable[[Setup], float] = lambda setup: 0.0,
        found: Facts = FACTS,
        pool: list[Recording] | None = None,
        without_update: float = 4 / 3,
        peak_bytes: Callable[[Setup], int | None] = lambda setup: None,
        parts: Callable[[Setup], bool] = lambda setup: False,
        off: Callable[[Trial], float] = lambda trial: 0.0,
    ) -> None:
        def speed_of(setup: Setup) -> float:
            factor = without_update if "no-update" in setup.values else 1.0
            return factor * speed(setup.without("no-update"))

        target = Target((sys.executable, "train.py"), None, ("train.py",), sys.executable, folder)
        pool = pool or [recording(noise, number, faults=found.faults_per_step) for number in range(400)]
        self.runner = RecordedRunner(target, folder, found, pool, 1, speed_of, error, start_s, peak_bytes, parts, off)
        self.book = Logbook(folder / "logbook.jsonl")
        self.book.start("train.py", "", 1, "test")
        self.said: list[str] = []

    def lab(self, budget_s: float = 600.0, seed: int = 1) -> Lab:
        return Lab(self.runner, self.book, budget_s, seed, learnt=self.said.append, clock=lambda: self.runner.spent_s)

    def tune(self, budget_s: float = 600.0, request: Request | None = None) -> Result:
        result = tune(self.lab(budget_s), request or Request()).result
        assert result is not None
        return result


def product(**factors: float) -> Callable[[Setup], float]:
    """Settings multiply; the others do nothing."""

    def speed(setup: Setup) -> float:
        total = 1.0
        for knob in setup.values:
            total *= factors.get(knob.replace("-", "_"), 1.0)
        return total

    return speed


def kept(result: Result) -> set[str]:
    return {k.knob for k in result.kept}
