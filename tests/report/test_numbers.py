"""Numbers carry the digits their interval earns, a unit, and n."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.records import Estimate
from hotlap.report import numbers


def ratio(value: float, low: float, high: float, n: int = 4) -> Estimate:
    return Estimate(value, low, high, "x", n)


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (ratio(2.4135, 2.2801, 2.5512), "2.41x (2.28 to 2.55, 4 pairs)"),
        (ratio(1.0432, 1.0233, 1.0631, 13), "1.043x (1.023 to 1.063, 13 pairs)"),
        (ratio(1.2, 1.0, 1.4, 1), "1.20x (1.00 to 1.40, 1 pair)"),
        (ratio(12.3, 7.1, 21.0), "12x (7 to 21, 4 pairs)"),
        (ratio(1.5, 1.5, 1.5), "1.50x (1.50 to 1.50, 4 pairs)"),
        (Estimate(0.002, 0.002, 0.002, "", 3), "0.002 (0.002 to 0.002, n = 3)"),
        (Estimate(0.0, 0.0, 0.0, "", 3), "0.00 (0.00 to 0.00, n = 3)"),
        (Estimate(0.0123, 0.0119, 0.0127, "s", 40), "12.3 ms (11.9 to 12.7, n = 40)"),
        (Estimate(0.121, 0.1, 0.142, "share", 1200), "12.1 % (10.0 to 14.2, n = 1,200)"),
        (Estimate(3.0 * 2**30, 2.9 * 2**30, 3.1 * 2**30, "bytes", 3), "3.00 GiB (2.90 to 3.10, n = 3)"),
        (Estimate(7.0, 5.0, 9.0, "steps", 3), "7.0 steps (5.0 to 9.0, n = 3)"),
    ],
)
def test_estimate_earns_its_digits(measured: Estimate, text: str) -> None:
    """Two digits of a small error, one of a larger one; the same decimals for value and bounds."""
    assert numbers.estimate(measured) == text


def test_bound_beside_no_change_is_not_rounded_onto_it() -> None:
    """An interval that just holds 1, or just does not, must look so."""
    assert numbers.estimate(ratio(1.05, 0.998, 1.105)) == "1.050x (0.998 to 1.105, 4 pairs)"
    assert numbers.estimate(ratio(1.05, 1.002, 1.100)) == "1.050x (1.002 to 1.100, 4 pairs)"


def test_absurd_interval_stays_short() -> None:
    """Two wild pairs can put the upper end beyond any meaning."""
    assert len(numbers.estimate(ratio(2.0, 0.0, 8e307, 2))) < 50
    assert "unknown" in numbers.estimate(ratio(2.0, 1.0, float("inf"), 2))


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (0.0, "0 s"),
        (4.2e-7, "0.420 µs"),
        (0.0007, "700 µs"),
        (0.09996, "100 ms"),
        (0.9996, "1.00 s"),
        (59.9, "59.9 s"),
        (59.97, "1 min"),
        (387.4, "6 min 27 s"),
        (3599.0, "1 h"),
        (4321.0, "1 h 12 min"),
        (360_000.0, "100 h"),
        (float("nan"), "unknown"),
    ],
)
def test_seconds_choose_their_unit(time_s: float, text: str) -> None:
    """The unit is chosen after rounding, so there is no 1000 ms."""
    assert numbers.seconds(time_s) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0 %"), (0.0001, "< 0.1 %"), (0.0312, "3.1 %"), (0.0996, "10 %"), (0.114, "11 %"), (1.0, "100 %")],
)
def test_share_is_a_percentage(fraction: float, text: str) -> None:
    """At most one decimal; something small is not nothing."""
    assert numbers.share(fraction) == text


def test_bytes_rates_and_counts() -> None:
    """Binary units for memory, decimal ones for rates, separators for counts."""
    assert numbers.size(1_610_612_736) == "1.50 GiB"
    assert numbers.size(100) == "100 bytes"
    assert numbers.rate(4.31e11, "FLOP/s") == "431 GFLOP/s"
    assert numbers.rate(12.0, "B/s") == "12.0 B/s"
    assert numbers.count(12_345) == "12,345"
    assert numbers.count(602.6) == "603"
    assert numbers.small(3.14e-7) == "3.1e-07"


@given(
    st.floats(1e-3, 1e3),
    st.floats(0, 10),
    st.floats(0, 10),
    st.integers(1, 10_000),
    st.sampled_from(["x", "s", "share", "bytes", ""]),
)
def test_no_estimate_without_interval_and_n(value: float, below: float, above: float, n: int, unit: str) -> None:
    """Whatever the numbers, the interval and the count come with them."""
    text = numbers.estimate(Estimate(value, value / (1 + below), value * (1 + above), unit, n))

    assert " to " in text
    assert f"{n:,}" in text
    assert text.endswith(")")
