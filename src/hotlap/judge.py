"""The judge: runs the arms of the learning check and lets the gates decide.

One reference arm and the noise arms serve every setup of a tune; a setup costs one more arm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hotlap.arms import Arms
from hotlap.knobs import knob_by_id
from hotlap.knobs.model.autocast_bf16 import BF16_CAPABILITY
from hotlap.processor import BFLOAT16
from hotlap.records import (
    AS_WRITTEN,
    Contract,
    Curve,
    Facts,
    Gate,
    Setting,
    Setup,
    Signature,
    Trial,
    Verdict,
    Word,
)
from hotlap.verify.arms import ArmRecord, checkpoint_gate, event_gate, noise_gate, reach_gate, repeats_itself
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
_LITTLE = 0.05  # relative: more than that is no rounding of a kernel that sums less exactly
_STORED = {"bfloat16": BF16_UNIT, "float16": TF32_UNIT}


def most_arms(settings: Iterable[Setting], *, stochastic: bool) -> int:
    """Arms that a setup of these settings takes at most, when it passes at once."""
    reduced = any(knob_by_id(setting.knob).unit > FLOAT32_UNIT for setting in settings)
    noise = _NOISE_SEEDS + 1  # and the script against itself
    further = _NOISE_SEEDS + 1 if reduced else 0  # noise at the reduced unit, and the setup's exact part
    return 1 + noise + 1 + further + (2 if stochastic else 0)  # the reference; the setup; the spread


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the call signatures of each root that it covers."""

    verdict: Verdict
    signatures: dict[tuple[str, int], tuple[Signature, ...]] = field(default_factory=dict)
    loosened: tuple[str, ...] = ()
    """Knobs that promise rounding and were shown to keep to a reduced precision only."""
    curves: tuple[Curve, ...] = ()
    """Losses of the paired trainings that were compared last."""


@dataclass
class Judge:
    """Compares setups with the untouched script.

    Args:
        arms: That are compared.
        loosens: What is more than rounding may pass as a reduced precision, which the user allows.
        version: Of another version of the script, where that is what is judged.
        ahead: Run all arms that a setup may need at once, as pays where several run side by side.
    """

    arms: Arms
    loosens: bool = True
    version: Facts | None = None
    ahead: bool = False
    _parts: dict[Setup, Judgement] = field(default_factory=dict)
    _known: dict[Setup, Judgement] = field(default_factory=dict)

    def judge(self, setup: Setup) -> Judgement:
        """The verdict on a setup, from all gates but the trajectory.

        A reduced precision's noise would hide faults of everything beside it, so the rest is judged apart as well.
        """
        if setup not in self._known:
            exact = setup.without(*(s.knob for s in setup.settings if knob_by_id(s.knob).unit > FLOAT32_UNIT))
            self._run_ahead(setup, exact)
            found = self._by_gates(setup)
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
        if not (self.arms.facts.stochastic and found.verdict.word.may_enter_plan and setup.settings):
            return found
        arms = self.arms.ended(self._spread(AS_WRITTEN)), self.arms.ended(self._spread(setup))
        failed = next((arm.failed for arm in arms if arm.failed), "")
        gate = spread_gate(arms[0].spread, arms[1].spread)
        if failed:
            gate = Gate("randomness", Word.UNDECIDED, f"the randomness inside the model was not compared: {failed}")
        verdict = found.verdict
        return replace(found, verdict=conclude((*verdict.gates, gate), verdict.seeds, repeats=verdict.repeats))

    def _judge(self, setup: Setup) -> Judgement:
        own, unit = self._units(setup)
        reference = self.arms.ended(self._reference())
        if reference.failed:
            return _undecided("reference", f"the untouched script could not be compared: {reference.failed}")
        compared = self.arms.compared
        arms = self._noise_arms(own, own), self._noise_arms(unit, own)
        unsure = noise_gate(reference, (*arms[0], *arms[1]), compared)
        if unsure is not None:
            return Judgement(conclude((unsure,), 1))
        noise = Spread(spread(arms[0]), spread(arms[1]))
        trial = self._candidate(setup)
        candidate = self.arms.ended(trial)
        if candidate.failed:
            return _undecided("candidate", f"it could not be compared: {candidate.failed}")
        version = self.version is not None
        exact = [reach_gate(candidate, compared), event_gate(reference, candidate, trial.steps, version=version)]
        exact += [] if version else [checkpoint_gate(reference, candidate)]
        repeats = repeats_itself(arms[0][-1])
        verdict = conclude((*exact, *self._noisy_gates(candidate, noise, unit)), 1, repeats=repeats)
        if self.loosens and unit == FLOAT32_UNIT and _off_by_little(verdict):
            wider = self._noise_arms(TF32_UNIT, own)
            noise = Spread(noise.float32, spread(wider), slack=1.0)  # with more, gradients 1 % short would pass
            again = conclude((*exact, *self._noisy_gates(candidate, noise, TF32_UNIT)), 1, repeats=repeats)
            if noise_gate(reference, wider, compared) is None and again.word.may_enter_plan:
                loosened = tuple(s.knob for s in setup.settings if knob_by_id(s.knob).contract is Contract.ROUNDING)
                return Judgement(again, candidate.signatures, loosened)
        return Judgement(verdict, candidate.signatures)

    @property
    def _stored(self) -> float:
        """Relative rounding error of the weights as they are stored."""
        return max((_STORED.get(d, 0.0) for root in self.arms.facts.roots for d in root.dtypes), default=0.0)

    def _units(self, setup: Setup) -> tuple[float, float]:
        """The same of the script's own arithmetic, and of the setup's."""
        own = max(self._stored, unit_of(self.arms.facts))
        unit = max((knob_by_id(s.knob).unit for s in setup.settings), default=own)
        return own, max(unit, own, unit_of(self.version) if self.version and self.loosens else own)

    def _reference(self) -> Trial:
        return self.arms.arm("reference", AS_WRITTEN, self.arms.event_steps)

    def _noisy_gates(self, candidate: ArmRecord, noise: Spread, unit: float) -> list[Gate]:
        gates = (
            gradient_gate(candidate, noise, unit),
            update_gate(candidate, noise, unit, max(self._stored, FLOAT32_UNIT)),
            evaluation_gate(candidate, noise, unit) or self._not_evaluated(),
        )
        return [gate for gate in gates if gate]

    def _not_evaluated(self) -> Gate | None:
        """A script that evaluates its model must be comparable there too; one that never does has no such gate."""
        if any(not call.grad and not call.training for root in self.arms.facts.roots for call in root.signatures):
            return Gate("evaluation", Word.UNDECIDED, "the model gives nothing in evaluation mode to compare")
        return None

    def _noise(self, unit: float, own: float) -> list[Trial]:
        """Three arms whose inputs are off by rounding; at the script's own unit, one that is off by nothing as well."""
        options: list[tuple[float, int]] = [(unit, seed) for seed in range(_NOISE_SEEDS)]
        if unit == own:  # the script against itself: kernels that are not repeatable show here
            options.append((0.0, 0))
        arms = self.arms
        return [arms.arm("noise", AS_WRITTEN, arms.last_step, unit=size, noise_seed=seed) for size, seed in options]

    def _noise_arms(self, unit: float, own: float) -> list[ArmRecord]:
        return [self.arms.ended(trial) for trial in self._noise(unit, own)]

    def _candidate(self, setup: Setup) -> Trial:
        loads = any(knob_by_id(s.knob).area == "data" for s in setup.settings)
        return self.arms.arm("candidate", setup, self.arms.event_steps if loads else self.arms.last_step)

    def _spread(self, setup: Setup) -> Trial:
        step = self.arms.compared[min(1, len(self.arms.compared) - 1)]
        return self.arms.arm("spread", setup, step, probe=step)

    def _run_ahead(self, setup: Setup, exact: Setup) -> None:
        """All that judging it will ask for at once, should it pass; the reference comes first, for others compare."""
        if not self.ahead or self.arms.ended(self._reference()).failed:
            return
        own, unit = self._units(setup)
        asked = [*self._noise(own, own), *self._noise(unit, own), self._candidate(setup)]
        asked += [self._candidate(exact)] if exact.settings else []
        asked += [self._spread(AS_WRITTEN), self._spread(setup)] if self.arms.facts.stochastic else []
        self.arms.ahead(asked)

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


def unit_of(facts: Facts) -> float:
    """Relative rounding error of the arithmetic that a script asks for, or leaves as torch has it."""
    precision, roots = facts.precision, facts.roots
    if precision.autocast or any("bfloat16" in root.dtypes for root in roots):
        return BF16_UNIT
    if not facts.is_cuda:
        return BF16_UNIT if precision.matmul == "medium" and BFLOAT16 & set(facts.machine.flags) else FLOAT32_UNIT
    narrow = precision.matmul != "highest" or precision.cudnn_tf32
    return TF32_UNIT if narrow and facts.capability >= BF16_CAPABILITY else FLOAT32_UNIT


def _off_by_little(verdict: Verdict) -> bool:
    """Whether what differs is small enough for a less exact kernel, and is a number that noise can be held against."""
    wrong = [gate for gate in verdict.gates if not gate.word.may_enter_plan]
    return bool(wrong) and all(gate.gap is not None and gate.gap < _LITTLE for gate in wrong)


def _undecided(gate: str, reason: str) -> Judgement:
    return Judgement(conclude((Gate(gate, Word.UNDECIDED, reason),), 1))
