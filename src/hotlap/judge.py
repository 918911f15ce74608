"""The judge: runs the arms of the learning check and lets the gates decide.

One reference arm and the noise arms serve every setup of a tune; a setup costs one more arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hotlap.knobs import knob_by_id
from hotlap.records import AS_WRITTEN, Facts, Gate, Outcome, Recording, Setup, Signature, Trial, Value, Verdict, Word
from hotlap.verify.gates import (
    FLOAT32_UNIT,
    ArmRecord,
    Spread,
    evaluation_gate,
    event_gate,
    gradient_gate,
    spread,
    update_gate,
)
from hotlap.verify.verdict import conclude

_NOISE_SEEDS = 3
_STEPS = (1, 2, 3, 6)
_TAIL_STEP = 4
_LIMIT_S = 600.0


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the call signatures of each root that it covers."""

    verdict: Verdict
    signatures: dict[tuple[str, int], tuple[Signature, ...]] = field(default_factory=dict)


@dataclass
class Judge:
    """Compares setups with the untouched script.

    Args:
        run: Runs a trial and gives its recording and what the arm wrote.
        next_id: Names the next trial.
        facts: Of the observed run.
        seed: Of all arms.
    """

    run: Callable[[Trial], tuple[Recording, ArmRecord]]
    next_id: Callable[[str], str]
    facts: Facts
    seed: int
    _reference: ArmRecord | None = None
    _noise: dict[float, list[ArmRecord]] = field(default_factory=dict)

    def judge(self, setup: Setup) -> Judgement:
        """The verdict on a setup, from all gates but the trajectory."""
        unit = max((knob_by_id(s.knob).unit for s in setup.settings), default=FLOAT32_UNIT)
        reference = self._arm("reference", AS_WRITTEN) if self._reference is None else self._reference
        self._reference = reference
        if reference.failed:
            return Judgement(_undecided("reference", f"the untouched script could not be compared: {reference.failed}"))
        noise = Spread(spread(self._noise_arms(FLOAT32_UNIT)), spread(self._noise_arms(unit)))
        candidate = self._arm("candidate", setup)
        if candidate.failed:
            return Judgement(_undecided("candidate", f"it could not be compared: {candidate.failed}"))
        gates = (
            event_gate(reference, candidate),
            gradient_gate(candidate, noise, unit),
            update_gate(candidate, noise, unit),
            evaluation_gate(candidate, noise, unit),
        )
        return Judgement(conclude(gates, 1), candidate.signatures)

    def _noise_arms(self, unit: float) -> list[ArmRecord]:
        if unit not in self._noise:
            arms = [self._arm("noise", AS_WRITTEN, unit=unit, noise_seed=seed) for seed in range(_NOISE_SEEDS)]
            if unit == FLOAT32_UNIT:  # the script against itself: kernels that are not repeatable show here
                arms.append(self._arm("noise", AS_WRITTEN, unit=0.0, noise_seed=0))
            self._noise[unit] = [arm for arm in arms if not arm.failed]
        return self._noise[unit]

    def _arm(self, purpose: str, setup: Setup, **options: Value) -> ArmRecord:
        steps, tail = self._plan()
        trial = Trial(
            id=self.next_id(purpose),
            purpose=purpose,
            setup=setup,
            seed=self.seed,
            block=0,
            steps=max(steps),
            limit_s=_LIMIT_S,
            options={"reference": f"reference-{self.seed}", "compare": ",".join(map(str, steps)), **tail, **options},
        )
        record, arm = self.run(trial)
        if arm.failed or record.outcome is Outcome.BUDGET:
            return arm
        return replace(arm, failed=f"{record.outcome.value}: {record.reason}")

    def _plan(self) -> tuple[tuple[int, ...], dict[str, Value]]:
        """Steps to compare, and where the epoch's last, smaller batch is served early."""
        loader = next((o for o in self.facts.loaders if o.trains and o.tail and o.default_collate), None)
        if loader is None:
            return _STEPS, {}
        tail: dict[str, Value] = {"tail": loader.tail, "tail_step": _TAIL_STEP, "tail_loader": loader.index}
        return tuple(sorted((*_STEPS, _TAIL_STEP))), tail

    def guilty(self, setup: Setup) -> tuple[tuple[str, ...], Verdict] | None:
        """The smallest set of knobs, found by halving, that is not fit for a plan on its own.

        Returns:
            Their ids and the verdict on them; None when every part passes alone and only the whole does not.
        """
        knobs = [setting.knob for setting in setup.settings]
        if len(knobs) == 1:
            return None
        for part in (knobs[: len(knobs) // 2], knobs[len(knobs) // 2 :]):
            half = setup.without(*(knob for knob in knobs if knob not in part))
            verdict = self.judge(half).verdict
            if not verdict.word.may_enter_plan:
                return self.guilty(half) or (tuple(part), verdict)
        return None


def _undecided(gate: str, reason: str) -> Verdict:
    return conclude((Gate(gate, Word.UNDECIDED, reason),), 1)
