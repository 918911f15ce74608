"""The judge: runs the arms of the learning check and lets the gates decide.

One reference arm and the noise arms serve every setup of a tune; a setup costs one more arm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hotlap.knobs import AGAINST, knob_by_id
from hotlap.records import (
    AS_WRITTEN,
    Contract,
    Facts,
    Gate,
    Outcome,
    Recording,
    Setup,
    Signature,
    Trial,
    Value,
    Verdict,
    Word,
)
from hotlap.verify.arms import ArmRecord, checkpoint_gate, event_gate, noise_gate, reach_gate
from hotlap.verify.gates import (
    BF16_UNIT,
    FLOAT32_UNIT,
    TF32_UNIT,
    Spread,
    evaluation_gate,
    gradient_gate,
    spread,
    update_gate,
)
from hotlap.verify.spread import spread_gate
from hotlap.verify.verdict import conclude

_NOISE_SEEDS = 3
_STEPS = (1, 2, 3, 6)
_FEW_STEPS = (2, 3)  # of a model so big that its snapshots would fill a disk
_BIG = 100_000_000  # parameters; each compared step of such a model is 3 GB on disk
_TAIL_STEP = 4
_EVENT_STEPS = 48  # at most, to see an epoch end and the next begin
_EVENT_S = 8.0
_LIMIT_S = 600.0
_LITTLE = 0.05  # relative: more than that is no rounding of a kernel that sums less exactly
_STORED = {"bfloat16": BF16_UNIT, "float16": TF32_UNIT}


def most_arms(*, stochastic: bool) -> int:
    """Arms that a setup with a reduced precision takes when it passes at once."""
    noise = 2 * _NOISE_SEEDS + 1  # at both units, and the script against itself
    return 1 + noise + 2 + (2 if stochastic else 0)  # the reference; the setup, and its exact part; the spread


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the call signatures of each root that it covers."""

    verdict: Verdict
    signatures: dict[tuple[str, int], tuple[Signature, ...]] = field(default_factory=dict)
    loosened: tuple[str, ...] = ()
    """Knobs that promise rounding and were shown to keep to a reduced precision only."""


@dataclass
class Judge:
    """Compares setups with the untouched script.

    Args:
        run: Runs a trial and gives its recording and what the arm wrote.
        next_id: Names the next trial.
        facts: Of the observed run.
        seed: Of all arms.
        step_s: Mean time of a training step, which bounds how far the batches are followed.
        loosens: What is more than rounding may pass as a reduced precision, which the user allows.
        version: Of another version of the script, where that is what is judged.
    """

    run: Callable[[Trial], tuple[Recording, ArmRecord]]
    next_id: Callable[[str], str]
    facts: Facts
    seed: int
    step_s: float = 0.0
    loosens: bool = True
    version: Facts | None = None
    _reference: ArmRecord | None = None
    _noise: dict[float, list[ArmRecord]] = field(default_factory=dict)
    _spread: ArmRecord | None = None
    _parts: dict[Setup, Judgement] = field(default_factory=dict)
    _known: dict[Setup, Judgement] = field(default_factory=dict)

    def judge(self, setup: Setup) -> Judgement:
        """The verdict on a setup, from all gates but the trajectory.

        A reduced precision's noise would hide faults of everything beside it, so the rest is judged apart as well.
        """
        if setup not in self._known:
            found = self._by_gates(setup)
            exact = setup.without(*(s.knob for s in setup.settings if knob_by_id(s.knob).unit > FLOAT32_UNIT))
            if found.verdict.word.may_enter_plan and exact.settings and exact != setup:
                apart = self._by_gates(exact)
                passed = apart.verdict.word.may_enter_plan
                found = replace(found, loosened=apart.loosened) if passed else apart
            self._known[setup] = self._with_randomness(setup, found)
        return self._known[setup]

    def _by_gates(self, setup: Setup) -> Judgement:
        if setup not in self._parts:
            self._parts[setup] = self._judge(setup)
        return self._parts[setup]

    def _with_randomness(self, setup: Setup, found: Judgement) -> Judgement:
        """What passed the exact gates, for which dropout is off, once more with dropout on."""
        if not (self.facts.stochastic and found.verdict.word.may_enter_plan and setup.settings):
            return found
        step = self._compared()[min(1, len(self._compared()) - 1)]
        if self._spread is None:
            self._spread = self._arm("spread", AS_WRITTEN, step, probe=step)
        arms = self._spread, self._arm("spread", setup, step, probe=step)
        failed = next((arm.failed for arm in arms if arm.failed), "")
        gate = spread_gate(arms[0].spread, arms[1].spread)
        if failed:
            gate = Gate("randomness", Word.UNDECIDED, f"the randomness inside the model was not compared: {failed}")
        return replace(found, verdict=conclude((*found.verdict.gates, gate), found.verdict.seeds))

    def _judge(self, setup: Setup) -> Judgement:
        stored = max((_STORED.get(d, 0.0) for root in self.facts.roots for d in root.dtypes), default=0.0)
        own = max(stored, BF16_UNIT if self.facts.precision.autocast else FLOAT32_UNIT)
        unit = max((knob_by_id(s.knob).unit for s in setup.settings), default=own)
        unit = max(unit, own, _unit_of(self.version) if self.version and self.loosens else own)
        if self._reference is None:
            self._reference = self._arm("reference", AS_WRITTEN, self._event_steps())
        reference = self._reference
        if reference.failed:
            return _undecided("reference", f"the untouched script could not be compared: {reference.failed}")
        arms = self._noise_arms(own), self._noise_arms(unit)
        unsure = noise_gate(reference, (*arms[0], *arms[1]), self._compared())
        if unsure is not None:
            return Judgement(conclude((unsure,), 1))
        noise = Spread(spread(arms[0]), spread(arms[1]))
        loads = any(knob_by_id(s.knob).area == "data" for s in setup.settings)
        steps = self._event_steps() if loads else self._last_step()
        candidate = self._arm("candidate", setup, steps)
        if candidate.failed:
            return _undecided("candidate", f"it could not be compared: {candidate.failed}")
        version = self.version is not None
        exact = [reach_gate(candidate, self._compared()), event_gate(reference, candidate, steps, version=version)]
        exact += [] if version else [checkpoint_gate(reference, candidate)]
        verdict = conclude((*exact, *self._noisy_gates(candidate, noise, unit, stored)), 1)
        if self.loosens and unit == FLOAT32_UNIT and _off_by_little(verdict):
            wider = self._noise_arms(TF32_UNIT)
            noise = Spread(noise.float32, spread(wider), slack=1.0)  # with more, gradients 1 % short would pass
            again = conclude((*exact, *self._noisy_gates(candidate, noise, TF32_UNIT, stored)), 1)
            if noise_gate(reference, wider, self._compared()) is None and again.word.may_enter_plan:
                loosened = tuple(s.knob for s in setup.settings if knob_by_id(s.knob).contract is Contract.ROUNDING)
                return Judgement(again, candidate.signatures, loosened)
        return Judgement(verdict, candidate.signatures)

    def _noisy_gates(self, candidate: ArmRecord, noise: Spread, unit: float, stored: float) -> list[Gate]:
        gates = (
            gradient_gate(candidate, noise, unit),
            update_gate(candidate, noise, unit, max(stored, FLOAT32_UNIT)),
            evaluation_gate(candidate, noise, unit) or self._not_evaluated(),
        )
        return [gate for gate in gates if gate]

    def _not_evaluated(self) -> Gate | None:
        """A script that evaluates its model must be comparable there too; one that never does has no such gate."""
        if any(not call.grad and not call.training for root in self.facts.roots for call in root.signatures):
            return Gate("evaluation", Word.UNDECIDED, "the model gives nothing in evaluation mode to compare")
        return None

    def _noise_arms(self, unit: float) -> list[ArmRecord]:
        if unit not in self._noise:
            options: list[tuple[float, int]] = [(unit, seed) for seed in range(_NOISE_SEEDS)]
            if not self._noise:  # the script against itself: kernels that are not repeatable show here
                options.append((0.0, 0))
            self._noise[unit] = [
                self._arm("noise", AS_WRITTEN, self._last_step(), unit=size, noise_seed=seed) for size, seed in options
            ]
        return self._noise[unit]

    def _arm(self, purpose: str, setup: Setup, steps: int, **options: Value) -> ArmRecord:
        compared = self._compared()
        tail = self._tail()
        trial = Trial(
            id=self.next_id(purpose),
            purpose=purpose,
            setup=setup,
            seed=self.seed,
            block=0,
            steps=steps,
            limit_s=_LIMIT_S,
            options={
                "reference": f"reference-{self.seed}",
                "compare": ",".join(map(str, compared)),
                "aligned": AGAINST in setup.values,
                **tail,
                **options,
            },
        )
        record, arm = self.run(trial)
        not_as_asked = {**record.failed_knobs, **record.failed_probes}
        if not_as_asked:
            what, reason = next(iter(not_as_asked.items()))
            return replace(arm, failed=f"{what} could not take hold: {reason}")
        if arm.failed or record.outcome is Outcome.BUDGET:
            return arm
        return replace(arm, failed=f"{record.outcome.value}: {record.reason}")

    def _compared(self) -> tuple[int, ...]:
        """Steps to compare; without an optimizer, or with several, the first is not a step like the others."""
        size = max(
            sum(optimizer.parameters for optimizer in self.facts.optimizers),
            sum(root.parameters for root in self.facts.roots),
        )
        plain = len(self.facts.optimizers) <= 1 and not self.facts.manual_update
        steps = _FEW_STEPS if size > _BIG else _STEPS if plain else _STEPS[1:]
        return tuple(sorted((*steps, _TAIL_STEP))) if self._tail() else steps

    def _last_step(self) -> int:
        """An update by hand comes after the step, so it is seen in the next one."""
        return self._compared()[-1] + self.facts.manual_update

    def _event_steps(self) -> int:
        """How far batches are followed where a knob touches the loading: past the end of an epoch, if that is near."""
        far = min(_EVENT_STEPS, int(_EVENT_S / self.step_s)) if self.step_s else _EVENT_STEPS
        epoch = self.facts.epoch_steps
        return max(self._last_step(), min(far, epoch + 3) if epoch else 0)

    def _tail(self) -> dict[str, Value]:
        """Where the epoch's last, smaller batch is served early."""
        loader = next((o for o in self.facts.loaders if o.trains and o.tail and o.default_collate), None)
        if loader is None:
            return {}
        return {"tail": loader.tail, "tail_step": _TAIL_STEP, "tail_loader": loader.index}

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


def _unit_of(version: Facts) -> float:
    """Relative rounding error of the arithmetic that another version of the script asks for."""
    if version.precision.autocast or any("bfloat16" in root.dtypes for root in version.roots):
        return BF16_UNIT
    return FLOAT32_UNIT if version.precision.matmul == "highest" else TF32_UNIT


def _off_by_little(verdict: Verdict) -> bool:
    """Whether what differs is small enough for a less exact kernel, and is a number that noise can be held against."""
    wrong = [gate for gate in verdict.gates if not gate.word.may_enter_plan]
    return bool(wrong) and all(gate.gap is not None and gate.gap < _LITTLE for gate in wrong)


def _undecided(gate: str, reason: str) -> Judgement:
    return Judgement(conclude((Gate(gate, Word.UNDECIDED, reason),), 1))
