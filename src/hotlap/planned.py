"""From a tune's result to the plan."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import msgspec

from hotlap.plan import (
    Gain,
    Header,
    Level,
    Plan,
    PlannedMachine,
    PlannedRoot,
    PlannedSetting,
    PlannedSignature,
    PlannedVerdict,
)
from hotlap.records import SCHEMA, Contract, Estimate, Facts, Goal, Result, Signature
from hotlap.trials.runner import RootKey


def plan_of(result: Result, signatures: Mapping[RootKey, Sequence[Signature]], date: datetime.date) -> Plan:
    """The plan that `hotlap run` applies.

    Args:
        result: Of the tune.
        signatures: The calls of each root that were verified.
        date: Of today.
    """
    settings = tuple(
        PlannedSetting(
            knob=kept.knob,
            value=kept.value,
            contract=kept.contract,
            share=_gain(kept.share),
            saving=_gain(kept.saving) if result.goal is Goal.MEMORY else None,
        )
        for kept in result.kept
    )
    levels = tuple(Level(contract=Contract(name), speedup=_gain(gain)) for name, gain in result.levels.items())
    roots = tuple(
        PlannedRoot(
            name=root.name,
            index=root.index,
            parameter_shapes=root.parameter_shapes,
            signatures=tuple(
                PlannedSignature(
                    shapes=s.shapes, dtypes=s.dtypes, training=s.training, grad=s.grad, manner=s.manner or None
                )
                for s in signatures.get((root.name, root.index), ())
            ),
        )
        for root in result.facts.roots
    )
    return Plan(schema=SCHEMA, header=_header(result, date), settings=settings, levels=levels, roots=roots)


def header_of(facts: Facts, date: datetime.date) -> Header:
    """What a plan was made of and where, before anything is said of what it gains."""
    return Header(
        date=date,
        script=facts.script,
        script_sha256=facts.script_sha256,
        argv=facts.argv,
        torch=facts.torch,
        python=facts.python,
        device=facts.device,
        machine=PlannedMachine(cpu=facts.machine.cpu, cores=facts.machine.cores),
        world_size=facts.world_size,
    )


def _header(result: Result, date: datetime.date) -> Header:
    verdict = result.verdict
    return msgspec.structs.replace(
        header_of(result.facts, date),
        goal=result.goal,
        speedup=_gain(result.speedup),
        saving=_gain(result.saving),
        verdict=PlannedVerdict(word=verdict.word, reason=verdict.reason, seeds=verdict.seeds) if verdict else None,
        payback_steps=result.payback_steps,
        asked=tuple(result.asked.values) or None,
        asked_speedup=_gain(result.asked_speedup),
        asked_saving=_gain(result.asked_saving),
    )


def _gain(estimate: Estimate | None) -> Gain | None:
    return Gain.of(estimate) if estimate else None
