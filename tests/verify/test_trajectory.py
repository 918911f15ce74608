"""Paired losses: alike, different, or not to be told apart."""

from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.records import Curve, Gate, Verdict, Word
from hotlap.verify.trajectory import cannot_tell, losses_gate, trajectory_gate, with_losses


def curves(offset=0.0, seeds=5, steps=60, wobble=0.0):
    """Losses that fall from 2 to 1, the candidate's higher by `offset` and by something of its own for each seed."""
    losses = [2 - step / steps for step in range(steps)]
    return [
        Curve(s, tuple(losses), tuple(loss + offset + wobble * (-1) ** s * (s + 1) for loss in losses))
        for s in range(seeds)
    ]


def test_equal_losses_are_equivalent_and_others_changed():
    """The margin is 2 % of the drop."""
    assert trajectory_gate(curves()).word is Word.EQUIVALENT
    assert trajectory_gate(curves(offset=0.1)).word is Word.CHANGED
    assert trajectory_gate(curves(offset=-0.1)).word is Word.CHANGED


@pytest.mark.parametrize(
    "given_curves",
    [[], curves(seeds=1), curves(steps=10), curves(wobble=0.1), [Curve(1, (nan,) * 30, (nan,) * 30)] * 3,
     [Curve(1, (1.0,) * 30, (1.0,) * 30)] * 3, [Curve(1, (None,) * 30, (None,) * 30)] * 3],
    ids=["none", "one", "short", "noisy", "nan", "flat", "unread"],
)  # fmt: skip
def test_what_cannot_be_told_is_undecided(given_curves):
    """Never a pass."""
    assert trajectory_gate(given_curves).word is Word.UNDECIDED


def test_a_second_look_is_stricter():
    """Over more seeds, when the first could not tell."""
    near = curves(wobble=0.003, seeds=6)

    assert trajectory_gate(near).word is Word.EQUIVALENT
    assert trajectory_gate(near, look=2).word is Word.UNDECIDED


def test_a_loss_that_is_lost_is_no_noise():
    """However many others are alike."""
    reference = tuple(2.0 - 0.03 * step for step in range(40))
    found = trajectory_gate([*curves(seeds=6), Curve(9, reference, (*reference[:30], nan, *reference[31:]))])

    assert (found.word, found.step) == (Word.CHANGED, 31)


def test_a_later_look_proves_no_bits_equal():
    """Since the one before saw some that differ."""
    same = [replace(curve, candidate=curve.reference) for curve in curves()]
    equal = Verdict(Word.IDENTICAL, "gradients", "equal", (Gate("gradients", Word.IDENTICAL, "equal"),), 1)

    assert with_losses(equal, same, noisy=False).word is Word.IDENTICAL
    assert with_losses(equal, same, noisy=False, look=2).word is Word.EQUIVALENT


def test_losses_that_differ_take_a_verdict_of_rounding_back():
    """Those that cannot be told apart leave it as it is."""
    rounding = Verdict(Word.ROUNDING, "gradients", "near", (Gate("gradients", Word.ROUNDING, "near"),), 1)

    assert with_losses(rounding, curves(offset=0.1), noisy=False).word is Word.CHANGED
    for unclear in (curves(), curves(wobble=0.1), curves(steps=10), []):
        assert with_losses(rounding, unclear, noisy=False) == rounding


def test_other_losses_are_no_noise_where_bits_are_promised():
    """Unless the script does not repeat its own."""
    equal = Verdict(Word.IDENTICAL, "gradients", "equal", (Gate("gradients", Word.IDENTICAL, "equal"),), 1)
    near = curves(offset=1e-7)

    assert with_losses(equal, near, noisy=True, exact=True).word is Word.UNDECIDED
    assert with_losses(equal, near, noisy=True).word is Word.EQUIVALENT


def test_only_what_more_seeds_can_tell_asks_for_them():
    """Not a loss that does not fall, nor one that was not seen."""
    rounding = Verdict(Word.ROUNDING, "gradients", "near", (Gate("gradients", Word.ROUNDING, "near"),), 1)
    flat = [Curve(seed, (1.0,) * 30, (1.0,) * 30) for seed in range(4)]

    assert cannot_tell(with_losses(rounding, curves(wobble=0.1), noisy=True))
    assert not cannot_tell(with_losses(rounding, flat, noisy=True))
    assert not cannot_tell(with_losses(rounding, curves(), noisy=True))


@given(st.floats(-1, 1), st.floats(0, 1))
def test_a_larger_offset_is_never_better(offset, wobble):
    """Against the same noise."""
    words = [trajectory_gate(curves(offset=offset * factor, wobble=wobble)).word for factor in (1, 3)]

    assert not (words[1] is Word.EQUIVALENT and words[0] is not Word.EQUIVALENT)


def test_losses_of_identical_trainings_are_equal_to_the_bit():
    """A setup that leaves dropout off passes every exact gate; its losses give it away."""
    assert losses_gate(curves()).word is Word.IDENTICAL
    for bad in (curves(offset=1e-9), curves(steps=10), [], [Curve(1, (nan,) * 30, (nan,) * 30)]):
        assert losses_gate(bad).word is Word.UNDECIDED
