"""The only formatter of numbers: as many digits as the interval earns, and no ratio without interval and n."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10

from hotlap.records import Estimate

_TIMES = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "\u00b5s"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_RATES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_MOST_DECIMALS = 4


def estimate(measured: Estimate) -> str:
    """For instance "2.41x (2.28 to 2.55, 4 pairs)"."""
    return f"{centre(measured)} ({interval(measured)})"


def centre(measured: Estimate) -> str:
    """The value alone, for a place that shows `interval` right beside it."""
    scale, unit = _scale(measured)
    return f"{_fixed(measured.value * scale, _places(measured, scale))}{unit}"


def interval(measured: Estimate) -> str:
    """The 95 % interval and the number of observations, in the unit of `centre`."""
    scale, _ = _scale(measured)
    places = _places(measured, scale)
    low, high = (_fixed(bound * scale, places) for bound in (measured.low, measured.high))
    return f"{low} to {high}, {observations(measured)}"


def observations(measured: Estimate) -> str:
    """What the estimate rests on: a ratio on pairs of runs, anything else on n observations."""
    if measured.unit != "x":
        return f"n = {measured.n:,}"
    return f"{measured.n:,} pair{'' if measured.n == 1 else 's'}"


def seconds(time_s: float) -> str:
    """A time in the unit that suits it."""
    if not isfinite(time_s):
        return "unknown"
    if time_s >= 3570:  # half a minute is rounded up
        return _two_units(round(time_s / 60), "h", "min")
    if time_s >= 59.95:
        return _two_units(round(time_s), "min", "s")
    size, unit = _unit(time_s, _TIMES, (1e-6, "\u00b5s"))
    return f"{_significant(time_s / size, 3)} {unit}" if time_s else "0 s"


def size(size_bytes: float) -> str:
    """Memory, in binary units."""
    step, unit = _unit(size_bytes, _BYTES, (1.0, "bytes"))
    return f"{_significant(size_bytes / step, 3)} {unit}"


def rate(per_s: float, unit: str) -> str:
    """Something per second: `rate(3e12, "FLOP/s")` is "3.00 TFLOP/s"."""
    step, prefix = _unit(per_s, _RATES, (1.0, ""))
    return f"{_significant(per_s / step, 3)} {prefix}{unit}"


def share(fraction: float) -> str:
    """A fraction of one as a percentage."""
    percent = 100 * fraction
    if not isfinite(percent):
        return "unknown"
    if 0 < percent < 0.05:
        return "< 0.1 %"
    return f"{percent:.0f} %" if abs(percent) >= 9.95 or not percent else f"{percent:.1f} %"


def count(number: float) -> str:
    """A whole number, or a rate of things, with separators."""
    return f"{number:,}" if isinstance(number, int) else f"{float(_significant(number, 3)):,.12g}"


def small(number: float) -> str:
    """A relative error or another bare number."""
    return f"{number:.2g}" if isfinite(number) else "unknown"


def column(values: Sequence[float | None], unit: str) -> tuple[str, list[str]]:
    """The numbers of one column, all in the unit that suits the largest, and that unit.

    >>> column([0.0123, 0.0004, None, 0.0], "s")
    ('ms', ['12.3', '0.40', '?', '-'])
    """
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    if unit == "s":
        step, name = _unit(largest, _TIMES[2:], (1e-6, "\u00b5s"))
    elif unit == "bytes":
        step, name = _unit(largest, _BYTES, (1.0, "bytes"))
    elif unit:
        step, prefix = _unit(largest, _RATES, (1.0, ""))
        name = f"{prefix}{unit}"
    else:
        step, name = 1.0, ""
    return name, [_cell(value, step) for value in values]


def _cell(value: float | None, step: float) -> str:
    if value is None or not value:
        return "?" if value is None else "-"
    scaled = value / step
    places = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return "<0.01" if scaled < 0.005 else f"{scaled:,.{places}f}"


def _two_units(count: int, large: str, small: str) -> str:
    whole, rest = divmod(count, 60)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"


def _unit(value: float, units: tuple[tuple[float, str], ...], smallest: tuple[float, str]) -> tuple[float, str]:
    # 999.6 ms is shown as 1.00 s, so the unit is chosen after rounding to three digits.
    return next(((step, unit) for step, unit in units if abs(value) * 1.0005 >= step), smallest)


def _significant(value: float, digits: int) -> str:
    if not value or not isfinite(value):
        return "0" if not value else "unknown"
    return f"{value:.{max(0, digits - 1 - floor(log10(abs(value) * (1 + 0.5 * 10**-digits))))}f}"


def _fixed(value: float, places: int) -> str:
    if not isfinite(value):
        return "unknown"
    return f"{value:.1e}" if abs(value) >= 1e7 else f"{value:,.{places}f}"


def _scale(measured: Estimate) -> tuple[float, str]:
    unit = measured.unit
    if unit == "share":
        return 100.0, " %"
    if unit == "s":
        step, name = _unit(measured.value, _TIMES, (1e-6, "\u00b5s"))
        return 1 / step, f" {name}"
    if unit == "bytes":
        step, name = _unit(measured.value, _BYTES, (1.0, "bytes"))
        return 1 / step, f" {name}"
    return 1.0, unit if unit in ("", "x") else f" {unit}"


def _places(measured: Estimate, scale: float) -> int:
    """Decimals that the interval earns: the Particle Data Group's rule, two digits of an error up to 35, else one."""
    low, high = measured.low * scale, measured.high * scale
    half = (high - low) / 2
    if not isfinite(half) or half <= 0:  # without a width, as many as a value that is not 0 needs to look so
        hidden = (places for places in range(2, _MOST_DECIMALS) if not low or round(low, places))
        return next(hidden, _MOST_DECIMALS) if isfinite(half) else 2
    exponent = floor(log10(half))
    places = -exponent + (1 if round(half / 10 ** (exponent - 1)) <= 35 else 0)
    places = min(max(places, 0), _MOST_DECIMALS)
    # A bound that lies beside "no change" must not be rounded onto it.
    while measured.unit == "x" and places < _MOST_DECIMALS and any(_hides_one(x, places) for x in (low, high)):
        places += 1
    return places


def _hides_one(bound: float, places: int) -> bool:
    return bound != 1.0 and round(bound, places) == 1.0
