"""A machine made of formulas: trainings that take no time, and whose best arm is known because it was planted."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, nan
from pathlib import Path

from hotlap.knobs import ARGUMENTS, LAYER_SIZES, OPTIMIZER_RULE
from hotlap.race.arm import Arm
from hotlap.race.rules import SCRIPT
from hotlap.race.schedule import shape_of
from hotlap.records import PHASES, Facts, Outcome, Raced, Recording, Setup, Signature, Steps, Trial
from hotlap.target import Target
from hotlap.trials.runner import RootKey
from hotlap.verify.arms import ArmRecord

_START, _FLOOR, _POWER, _SCALE = 2.3, 0.2, 0.8, 12.0  # of the loss, and how it falls
_WIDTH = 1.2  # of the optimum of the learning rate, in the rate's logarithm
_EDGE = 3.5  # beyond the optimum in the same measure a training blows up
_START_S, _STEP_S = 2.0, 0.05


@dataclass(frozen=True)
class Truth:
    """What a rule really does."""

    speed: float = 1.0
    """Progress per step, or per sample of another batch size, over that of the script's own rule, each at its best."""
    best_lr: float = 1e-3
    cost: float = 1.0
    """Time of its step, over that of the script's."""
    likes: Mapping[str, float] = field(default_factory=dict[str, float])
    """Schedule to the times as much progress that it makes under it."""


@dataclass
class SimulatedRunner:
    """Trials of a script whose curves follow a power law.

    Args:
        target: A training in name only.
        out: A folder for the logbook.
        facts: Of the script.
        truths: Rule, arguments or "batch size N" to what it does; "script" is the script's own.
        script_lr: The rate that the script is written with.
        steps: Of its training.
        seed: Of everything that is drawn.
        seed_noise: Standard deviation of a seed's luck, in the logarithm of progress.
        step_noise: The same of a run's pace.
        loss_noise: Of a single loss.
        gap: By which a rate that is not let down keeps the loss above where it could be.
        verified: See `Runner`.
        shares: See `Runner`.
    """

    target: Target
    out: Path
    facts: Facts
    truths: Mapping[str, Truth]
    script_lr: float = 1e-3
    steps: int = 256
    seed: int = 0
    seed_noise: float = 0.04
    step_noise: float = 0.03
    loss_noise: float = 0.02
    gap: float = 0.05
    verified: Mapping[RootKey, Sequence[Signature]] | None = None
    shares: bool = False
    spent_s: float = field(default=0.0, init=False)
    """The time that the trials would have taken."""

    def run(self, trial: Trial, facts: Facts | None = None) -> Recording:
        """A training by the formula."""
        arm, truth = self._of(trial.setup)
        whole_run = round(self.steps / arm.growth)
        count = min(trial.steps or whole_run, 40 if trial.purpose == "observe" else whole_run)
        luck = random.Random(f"{self.seed} {trial.id} {trial.seed} {trial.setup}")
        pace = _STEP_S * truth.cost * exp(luck.gauss(0, self.step_noise))
        if cap_s := float(trial.options.get("cap_s", 0.0)):
            count = min(count, max(1, int(cap_s / pace)))
        losses = self._losses(trial, arm, truth, count, luck)
        killed = "non-finite" if losses[-1] != losses[-1] else "out-of-time" if count < (trial.steps or 0) else ""
        self.spent_s += _START_S + pace * len(losses)
        whole = not trial.steps and len(losses) == whole_run
        return self._recording(trial, losses, pace, killed, arm.growth, whole=whole)

    def arm(self, trial: Trial) -> ArmRecord:
        """Nothing: a race has no learning check."""
        raise NotImplementedError("a race has no learning check")

    def ceiling(self) -> dict[str, float]:
        """Nothing: a race does not ask."""
        return {}

    def _of(self, setup: Setup) -> tuple[Arm, Truth]:
        text = setup.values.get(OPTIMIZER_RULE)
        variant = setup.values.get(ARGUMENTS) or setup.values.get(LAYER_SIZES)
        arm = Arm.parse(str(text)) if text else Arm(SCRIPT)
        name = f"batch size {arm.batch}" if arm.batch else arm.rule
        return arm, self.truths[str(variant) if variant else name]

    def _losses(self, trial: Trial, arm: Arm, truth: Truth, count: int, luck: random.Random) -> list[float]:
        common = random.Random(f"{self.seed} {trial.seed}").gauss(0, self.seed_noise)  # a pair's runs share half of it
        off = log((arm.lr or self.script_lr) / truth.best_lr) / _WIDTH
        speed = (
            truth.speed
            * truth.likes.get(arm.schedule, 1.0)
            * exp(-off * off / 2 + common + luck.gauss(0, self.seed_noise))
        )
        shape = shape_of("constant" if arm.schedule == SCRIPT else arm.schedule)
        horizon = arm.horizon or self.steps
        found: list[float] = []
        for step in range(1, count + 1):
            if log(max(shape(step / horizon), 1e-9)) / _WIDTH + off > _EDGE:
                return [*found, nan]
            progress = speed * step * arm.growth / self.steps
            loss = _FLOOR + (_START - _FLOOR) * (1 + _SCALE * progress) ** -_POWER
            found.append(loss + self.gap * shape(step / horizon) + luck.gauss(0, self.loss_noise))
        return found

    def _recording(
        self, trial: Trial, losses: list[float], pace: float, killed: str, growth: float, *, whole: bool
    ) -> Recording:
        times = tuple([pace] * len(losses))
        rate = self.script_lr
        return Recording(
            trial=trial,
            outcome=Outcome.ENDED if whole else Outcome.BUDGET,
            reason="",
            exit_code=0,
            wall_s=_START_S + sum(times),
            startup_s=_START_S,
            steps=Steps(
                total_s=times,
                phases_s={phase: times if phase == "forward" else tuple([0.0] * len(times)) for phase in PHASES},
                samples=tuple([round(32 * growth)] * len(times)),
                losses=tuple(None if loss in (inf, -inf) else loss for loss in losses),
                compiles=tuple([0] * len(times)),
            ),
            epoch_start_s=0.0,
            evaluation_s=0.0,
            evaluations=0,
            warmup_steps=min(10, len(times)),
            device_phases_s={},
            peak_bytes=1,
            cuda_peak_bytes=None,
            processes=1,
            facts=self.facts if trial.purpose == "observe" else None,
            failed_probes={},
            failed_knobs={},
            installed_knobs=(),
            notes=(),
            log="",
            race=Raced(rates=((1, (rate,)),), state_bytes=8, killed=killed),
        )
