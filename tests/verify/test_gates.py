"""The gates on made-up rows: what passes, what does not, and that worse is never better."""

from dataclasses import replace
from math import inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.records import Word
from hotlap.verify import gates
from hotlap.verify.arms import ArmRecord, event_gate, noise_gate, reach_gate
from hotlap.verify.gates import BF16_UNIT, FLOAT32_UNIT, Spread
from hotlap.verify.verdict import conclude

STEPS = (1, 2)
EVENT = {"batches": ["a"], "counts": {"step": 1}, "hyper": [{"lr": "0.1"}], "flags": ["True"], "modules": [3]}
ORDER = (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT, Word.UNDECIDED, Word.CHANGED)


def row(name="w", norm=1.0, scale=1.0, noise=0.0, weight=0.0):
    """A row whose vector is `scale` times the reference's and off by `noise` at a right angle to it."""
    got, error = sqrt(scale**2 + noise**2) * norm, sqrt((scale - 1) ** 2 + noise**2) * norm
    return [name, norm, got, error, error == 0, weight]


def arm(*rows, what="gradient", **changes):
    """An arm with the same rows at each step, and its events."""
    filled = {(kind, step): [row()] for kind in ("gradient", "update", "evaluation") for step in STEPS}
    filled |= {(what, step): list(rows) for step in STEPS}
    return replace(ArmRecord(tuple({"step": step, **EVENT} for step in STEPS), filled), **changes)


def noise(unit, f32=1e-6, u=1e-2, name="w"):
    """Spreads as a small network has them."""
    places = [(what, step, name) for what in ("gradient", "evaluation") for step in STEPS]
    low, high = dict.fromkeys(places, f32), dict.fromkeys(places, f32 if unit == FLOAT32_UNIT else u)
    return Spread(low, high)


def word(candidate, unit=FLOAT32_UNIT, **options):
    """The gradient gate's answer."""
    return gates.gradient_gate(candidate, noise(unit, **options), unit).word


def test_equal_bits_are_identical():
    """Whatever the noise."""
    assert word(arm(row())) is Word.IDENTICAL


@pytest.mark.parametrize(("unit", "passed"), [(FLOAT32_UNIT, Word.ROUNDING), (BF16_UNIT, Word.EQUIVALENT)])
def test_noise_passes_under_its_own_name(unit, passed):
    """Twice what the noise arms show."""
    assert word(arm(row(noise=2e-6 if unit == FLOAT32_UNIT else 2e-2)), unit) is passed


@pytest.mark.parametrize("unit", [FLOAT32_UNIT, BF16_UNIT])
def test_gradients_a_tenth_short_are_caught(unit):
    """Even where the reduced precision's noise is as large as that."""
    assert word(arm(row(scale=0.9)), unit) is Word.CHANGED


@pytest.mark.parametrize(
    ("reference", "got", "error"),
    [(1.0, nan, nan), (1.0, inf, inf), (1.0, 1.0, nan), (1.0, 0.0, 1.0), (1.0, None, None), (None, 1.0, None)],
)
@pytest.mark.parametrize("band", [1e-6, 0.5])
def test_what_is_missing_vanished_or_not_finite_is_changed(reference, got, error, band):
    """However wide the band."""
    assert word(arm(["w", reference, got, error, False, 0.0]), BF16_UNIT, u=band) is Word.CHANGED


def test_a_reference_that_is_not_finite_decides_nothing():
    """NaN compares false with everything; that is no pass."""
    bad = ["w", nan, 1.0, nan, False, 0.0]

    assert word(arm(bad)) is Word.UNDECIDED
    assert gates.update_gate(arm(bad, what="update"), Spread({}, {}), FLOAT32_UNIT).word is Word.UNDECIDED
    assert gates.evaluation_gate(arm(bad, what="evaluation"), Spread({}, {}), FLOAT32_UNIT).word is Word.UNDECIDED


def test_noise_only_parameters_are_judged_by_size():
    """A bias before BatchNorm: its direction is rounding, its size must stay so."""
    quiet = {"f32": 0.5, "name": "b"}

    assert word(arm(row(), row("b", 1e-9, scale=-1)), **quiet) is Word.ROUNDING
    assert word(arm(row(), ["b", 1e-9, 1e-2, 1e-2, False, 0.0]), **quiet) is Word.CHANGED
    assert word(arm(row(), row("b", 0.5, scale=-1)), **quiet) is Word.UNDECIDED  # that is no rounding
    assert word(arm(row(), row("b", 0.5, scale=0)), **quiet) is Word.UNDECIDED
    assert word(arm(row(), row("b", 0.5, scale=0)), f32=2.0, name="b") is Word.UNDECIDED
    assert word(arm(row(), row("b", 0.5, noise=0.4)), **quiet) is Word.ROUNDING  # nearer than the noise arms are
    assert word(arm(row(), row("b", 0.5, noise=0.6)), **quiet) is Word.UNDECIDED


@pytest.mark.parametrize(
    ("f32", "size", "got", "expected"),
    [
        (1.4, 1e-5, 3e-4, Word.ROUNDING),  # of the size that the noise arms show, within its multiple
        (1.4, 1e-5, 6e-4, Word.CHANGED),
        (1.4, 1e-5, 0.0, Word.UNDECIDED),  # gone
        (1.4, 1e-4, 2e-3, Word.CHANGED),  # never as much as matters in the whole
        (1.4, 2e-3, 1e-5, Word.UNDECIDED),
        (0.3, 1e-5, 1e-5, Word.UNDECIDED),  # not all of it is noise
        (0.3, 1e-5, 0.0, Word.UNDECIDED),
    ],
)
def test_noise_that_sums_over_a_large_batch_is_judged_by_the_noise_arms(f32, size, got, expected):
    """Beside a gradient of norm 1 for the rest; 32 float32 units of that are 4e-6."""
    assert word(arm(row(), ["b", size, got, size + got, False, 0.0]), f32=f32, name="b") is expected


def test_zero_everywhere_is_undecided():
    """There was nothing to compare."""
    assert word(arm(["w", 0.0, 0.0, 0.0, True, 0.0])) is Word.UNDECIDED
    assert word(arm(["w", 0.0, 1.0, 1.0, False, 0.0])) is Word.UNDECIDED
    assert word(ArmRecord((), {})) is Word.UNDECIDED


def test_lost_weight_decay_is_caught():
    """AdamW's decay is a ten-thousandth of its update."""
    got = arm(row(norm=1e-3, scale=1 - 1e-4, weight=0.03), what="update")

    assert gates.update_gate(got, Spread({}, {}), BF16_UNIT).word is Word.CHANGED


def test_frozen_buffers_are_caught_in_any_noise():
    """Running statistics that stand still."""
    name = "buffer 0.mean"
    wide = Spread({}, {("update", step, name): 0.5 for step in STEPS})
    frozen = arm(row(norm=0.1), [name, 0.1, 0.0, 0.1, False, 1.0], what="update")

    assert gates.update_gate(frozen, wide, BF16_UNIT).word is Word.CHANGED


def test_an_update_that_never_moves_is_undecided():
    """A learning rate of zero, or an update that came after the look."""
    still = arm(["w", 0.0, 0.0, 0.0, True, 1.0], what="update")

    assert gates.update_gate(still, Spread({}, {}), FLOAT32_UNIT).word is Word.UNDECIDED


def test_what_an_optimizer_keeps_may_be_off_by_the_rounding_of_its_rates():
    """CUDA's fused Adam forms 1 - beta2 in float32, and so keeps 1.29e-5 less; in the weights that is too much."""
    off = 1 - float(np.float32(1) - np.float32(0.999)) / (1 - 0.999)
    for name, word in (("exp_avg_sq of w in optimizer 0", Word.ROUNDING), ("w", Word.CHANGED)):
        row = [name, 1.0, 1 - off, off, False, 0.0]
        assert gates.update_gate(arm(row, what="update"), Spread({}, {}), FLOAT32_UNIT).word is word
    lost = arm(["exp_avg_sq of w in optimizer 0", 1.0, 0.999, 1e-3, False, 0.0], what="update")
    assert gates.update_gate(lost, Spread({}, {}), FLOAT32_UNIT).word is Word.CHANGED


def test_no_evaluation_is_no_answer():
    """Not a pass; and outputs that only one arm has are a change."""
    assert gates.evaluation_gate(arm(what="evaluation"), Spread({}, {}), FLOAT32_UNIT) is None
    lost = arm(["output 0", 1.0, None, None, False, 0.0], what="evaluation")
    assert gates.evaluation_gate(lost, Spread({}, {}), FLOAT32_UNIT).word is Word.CHANGED


@pytest.mark.parametrize("key", list(EVENT))
def test_any_event_that_differs_is_changed(key):
    """Equality, to the letter."""
    other = arm(row(), events=tuple({"step": s, **EVENT, key: type(EVENT[key])()} for s in STEPS))

    assert event_gate(arm(row()), other).word is Word.CHANGED


def test_events_that_were_not_seen_are_undecided():
    """An arm that ended early, and batches that nobody could read."""
    blind = arm(row(), events=tuple({"step": s, **EVENT, "batches": [""]} for s in STEPS))

    assert event_gate(arm(row()), arm(row(), events=arm(row()).events[:1])).word is Word.UNDECIDED
    assert event_gate(arm(row()), arm(row(), events=())).word is Word.UNDECIDED
    assert event_gate(blind, blind).word is Word.UNDECIDED


def test_a_step_that_was_not_reached_has_not_passed():
    """Nor has one without rows."""
    assert reach_gate(arm(row()), STEPS).word is Word.IDENTICAL
    assert reach_gate(arm(row()), (*STEPS, 6)).word is Word.UNDECIDED
    assert reach_gate(arm(), STEPS).word is Word.UNDECIDED


def test_noise_that_cannot_be_trusted_decides_nothing():
    """No arm, a failed one, one that is not finite, one with other batches."""
    good = arm(row())
    other = arm(row(), events=tuple({"step": s, **EVENT, "batches": ["b"]} for s in STEPS))

    assert noise_gate(good, [good], STEPS) is None
    for bad in ([], [arm(row(), failed="crashed")], [arm(["w", 1.0, nan, nan, False, 0])], [other]):
        found = noise_gate(good, [good, *bad] if bad else [], STEPS)
        assert found is not None
        assert found.word is Word.UNDECIDED


sizes = st.floats(1e-9, 3.0)


@given(scale=st.floats(-1, 3), off=sizes, more=st.floats(1.0, 50.0), u=st.floats(1e-4, 0.5), f32=st.floats(1e-8, 0.09))
def test_a_larger_error_never_improves_the_word(scale, off, more, u, f32):
    """Further from the reference on the same ray."""
    words = [
        word(arm(row(scale=1 + (scale - 1) * factor, noise=off * factor)), BF16_UNIT, u=u, f32=f32)
        for factor in (1.0, more)
    ]

    assert ORDER.index(words[1]) >= ORDER.index(words[0])


@given(u=st.floats(0, 1e6), f32=st.floats(0, 1e6), key=st.sampled_from(list(EVENT)))
def test_no_noise_pardons_what_must_be_equal(u, f32, key):
    """Events, vanished gradients and a reversed direction."""
    other = arm(row(), events=tuple({"step": s, **EVENT, key: type(EVENT[key])()} for s in STEPS))
    verdict = conclude(
        [event_gate(arm(row()), other), gates.gradient_gate(other, noise(BF16_UNIT, f32, u), BF16_UNIT)], 1
    )

    assert verdict.word is Word.CHANGED
    assert not word(arm(row(scale=-1)), BF16_UNIT, u=u, f32=f32).may_enter_plan


def test_no_gates_are_no_pass():
    """The empty list."""
    assert conclude([], 1).word is Word.UNDECIDED
