"""The arms of the learning check: what each of them is told, and which of them can run at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hotlap.knobs import AGAINST
from hotlap.records import Facts, Outcome, Recording, Setup, Trial, Value
from hotlap.verify.arms import ArmRecord

_STEPS = (1, 2, 3, 6)
_FEW_STEPS = (2, 3)  # of a model so big that its snapshots would fill a disk
_BIG = 100_000_000  # parameters; each compared step of such a model is 3 GB on disk
_TAIL_STEP = 4
_EVENT_STEPS = 48  # at most, to see an epoch end and the next begin
_EVENT_S = 8.0
_LIMIT_S = 600.0
_SOON = 200  # steps of smaller optimizers that an arm goes through to come to those of the main one

Run = Callable[[Sequence[Trial]], Sequence[tuple[Recording, ArmRecord]]]


@dataclass
class Arms:
    """The arms of one judge, each run once.

    Args:
        run: Runs trials that do not need each other, and gives their recordings and what the arms wrote.
        next_id: Names the next trial.
        facts: Of the observed run.
        seed: Of all arms.
        step_s: Mean time of a training step, which bounds how far the batches are followed.
    """

    run: Run
    next_id: Callable[[str], str]
    facts: Facts
    seed: int
    step_s: float = 0.0
    _ended: dict[str, ArmRecord] = field(default_factory=dict)

    def arm(self, purpose: str, setup: Setup, steps: int, **options: Value) -> Trial:
        """One arm, without a name.

        Args:
            purpose: "reference", "noise", "candidate" or "spread".
            setup: That it runs under.
            steps: How many it takes.
            options: Of its purpose.
        """
        return Trial(
            id="",
            purpose=purpose,
            setup=setup,
            seed=self.seed,
            block=0,
            steps=steps,
            limit_s=_LIMIT_S,
            options={
                "reference": f"reference-{self.seed}",
                "compare": ",".join(map(str, self.compared)),
                "aligned": AGAINST in setup.values,
                **self._main,
                **self._tail,
                **options,
            },
        )

    def ahead(self, trials: Sequence[Trial]) -> None:
        """Run those that have not run yet."""
        fresh = list({repr(trial): trial for trial in trials if repr(trial) not in self._ended}.items())
        named = [replace(trial, id=self.next_id(trial.purpose)) for _, trial in fresh]
        for (key, _), (record, arm) in zip(fresh, self.run(named) if named else (), strict=True):
            self._ended[key] = _as_asked(record, arm)

    def ended(self, trial: Trial) -> ArmRecord:
        """What an arm wrote, run now if it has not been."""
        self.ahead([trial])
        return self._ended[repr(trial)]

    @property
    def compared(self) -> tuple[int, ...]:
        """Steps to compare; without an optimizer, or with several, the first is not a step like the others."""
        size = max(
            sum(optimizer.parameters for optimizer in self.facts.optimizers),
            sum(root.parameters for root in self.facts.roots),
        )
        plain = len(self.facts.optimizers) <= 1 and not self.facts.manual_update
        steps = _FEW_STEPS if size > _BIG else _STEPS if plain else _STEPS[1:]
        return tuple(sorted((*steps, _TAIL_STEP))) if self._tail else steps

    @property
    def last_step(self) -> int:
        """An update by hand comes after the step, so it is seen in the next one."""
        return self.compared[-1] + self.facts.manual_update

    @property
    def event_steps(self) -> int:
        """How far batches are followed where a knob touches the loading: past the end of an epoch, if that is near."""
        far = min(_EVENT_STEPS, int(_EVENT_S / self.step_s)) if self.step_s else _EVENT_STEPS
        epoch = self.facts.epoch_steps
        return max(self.last_step, min(far, epoch + 3) if epoch else 0)

    @property
    def _main(self) -> dict[str, Value]:
        """The size of the optimizer whose step ends a step, where a smaller one may step before it."""
        sizes = [optimizer.parameters for optimizer in self.facts.optimizers]
        return {"main": max(sizes)} if 0 < self.facts.before_main < _SOON else {}

    @property
    def _tail(self) -> dict[str, Value]:
        """Where the epoch's last, smaller batch is served early."""
        loader = next((o for o in self.facts.loaders if o.trains and o.tail and o.default_collate), None)
        if loader is None:
            return {}
        return {"tail": loader.tail, "tail_step": _TAIL_STEP, "tail_loader": loader.index}


def _as_asked(record: Recording, arm: ArmRecord) -> ArmRecord:
    """The arm, failed where it was not what was asked for."""
    if not_as_asked := {**record.failed_knobs, **record.failed_probes}:
        what, reason = next(iter(not_as_asked.items()))
        return replace(arm, failed=f"{what} could not take hold: {reason}")
    if arm.failed or record.outcome is Outcome.BUDGET:
        return arm
    return replace(arm, failed=f"{record.outcome.value}: {record.reason}")
