"""The stochastic gate on numbers that are made up."""

import random

import pytest

from hotlap.records import Word
from hotlap.verify.spread import spread_gate


def values(seed, *, mean=1.0, spread=0.1, names=20, n=8):
    """Answer and gradient norms under eight seeds."""
    rng = random.Random(seed)
    return {name: [rng.gauss(mean, spread) for _ in range(n)] for name in ("answer", *map(str, range(names)))}


def test_equal_values_are_identical():
    """Another process, the same kernels."""
    assert spread_gate(values(1), values(1)).word is Word.IDENTICAL


def test_other_masks_are_no_difference():
    """A kernel that draws in another order: false alarms stay below one in a hundred."""
    words = [spread_gate(values(seed), values(seed + 10_000)).word for seed in range(300)]

    assert words.count(Word.EQUIVALENT) >= 297


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spread": 0.0}, "no randomness is left"),
        ({"spread": 2.0}, "its spread is"),
        ({"mean": 2.0}, "its mean is"),
    ],
)
def test_what_is_not_the_same_is_named(changes, words):
    """Dropout left off, much stronger, or its scale forgotten."""
    gate = spread_gate(values(1), values(2, **changes))

    assert gate.word is Word.CHANGED
    assert gate.parameter == "answer"
    assert words in gate.reason


def test_new_randomness_is_a_change():
    """Where there was none."""
    assert "there was none" in spread_gate(values(1, spread=0.0), values(2)).reason


@pytest.mark.parametrize("size", [1e-9, 1e-4])
def test_a_gradient_that_is_rounding_noise_is_left_alone(size):
    """A bias before BatchNorm is a thousand times larger in a lower precision, and still nothing."""
    reference, candidate = values(1), values(2)
    reference["bias"], candidate["bias"] = [size * v for v in reference["0"]], [50 * size * v for v in candidate["0"]]

    assert spread_gate(reference, candidate).word is Word.EQUIVALENT


def test_what_was_not_measured_has_not_passed():
    """No values, a missing parameter, a value that is not finite."""
    assert spread_gate({}, values(1)).word is Word.UNDECIDED
    assert spread_gate(values(1), {}).word is Word.UNDECIDED
    missing = {name: v for name, v in values(2).items() if name != "3"}
    assert spread_gate(values(1), missing).word is Word.CHANGED
    assert spread_gate(values(1), values(2) | {"3": [float("nan")] * 8}).word is Word.UNDECIDED
