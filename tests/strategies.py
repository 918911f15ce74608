"""Hypothesis strategies for what several tests draw."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

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
from hotlap.records import Contract, Word

step_s = st.floats(1e-4, 10.0)
"""A step time [s]."""

log_ratios = st.lists(st.floats(-0.7, 0.7), min_size=2, max_size=13)
"""Log ratios of pairs, within a factor of two."""


@st.composite
def pairs_s(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]]]:
    """Step times [s] of reference and candidate: equally many trials, each with a number of steps of its own."""
    trials = draw(st.integers(2, 8))
    arm = st.lists(st.lists(step_s, min_size=1, max_size=6), min_size=trials, max_size=trials)
    return draw(arm), draw(arm)


@st.composite
def gains(draw: st.DrawFn) -> Gain:
    """A speed-up with its interval."""
    low, value, high = sorted(draw(st.tuples(*[st.floats(1e-6, 1e6)] * 3)))
    return Gain(value=value, low=low, high=high, n=draw(st.integers(1, 100)))


counts = st.integers(0, 2**40)
shapes = st.lists(st.lists(counts, max_size=4).map(tuple), max_size=3).map(tuple)
contracts = st.sampled_from(Contract)
texts = st.text(max_size=30)
values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts

verdicts = st.builds(PlannedVerdict, word=st.sampled_from(Word), reason=texts, seeds=counts)
machines = st.builds(PlannedMachine, cpu=texts, cores=counts)
settings = st.builds(PlannedSetting, knob=texts, value=values, contract=contracts, share=st.none() | gains())
levels = st.builds(Level, contract=contracts, speedup=st.none() | gains())
signatures = st.builds(
    PlannedSignature,
    shapes=shapes,
    dtypes=st.lists(texts, max_size=3).map(tuple),
    training=st.booleans(),
    grad=st.booleans(),
)
roots = st.builds(
    PlannedRoot,
    name=texts,
    index=counts,
    parameter_shapes=shapes,
    signatures=st.lists(signatures, max_size=3).map(tuple),
)
headers = st.builds(
    Header,
    date=st.dates(datetime.date(1900, 1, 1)),
    script=texts,
    script_sha256=texts,
    argv=st.lists(texts, max_size=4).map(tuple),
    torch=texts,
    python=texts,
    device=texts,
    machine=machines,
    world_size=st.integers(1, 1024),
    speedup=st.none() | gains(),
    verdict=st.none() | verdicts,
    payback_steps=st.none() | counts,
)
plans = st.builds(
    Plan,
    header=headers,
    settings=st.lists(settings, max_size=4, unique_by=lambda setting: setting.knob).map(tuple),
    levels=st.lists(levels, max_size=3).map(tuple),
    roots=st.lists(roots, max_size=2).map(tuple),
)
"""Any plan at all that can be written, with every text of Unicode."""
