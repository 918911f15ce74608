"""What a tune for memory says where one for speed says how much faster."""

from __future__ import annotations

from hotlap.goals import SAVED
from hotlap.records import Estimate, Goal, Kept, Result
from hotlap.records.views import LargestBatch
from hotlap.report import numbers
from hotlap.stats import DELTA

NOISE = "which decides how many pairs it takes to bound what a setting costs."


def less(saving: Estimate) -> Estimate:
    """How many times less memory, as the share of it that is saved."""
    return Estimate(*(1 - 1 / ratio for ratio in (saving.value, saving.low, saving.high)), unit="share", n=saving.n)


def saved(saving: Estimate) -> str:
    """For instance "46.1 % (45.8 to 46.4, n = 4) less memory", or more of it."""
    return _changed(saving, "memory")


def time(speedup: Estimate) -> str:
    """What that costs: "6 % (4 to 9, n = 4) more time per step", or less of it."""
    return _changed(speedup, "time per step")


def _changed(times: Estimate, what: str) -> str:
    if times.value > 1.0:
        return f"{numbers.estimate(less(times))} less {what}"
    more = (1 / ratio - 1 for ratio in (times.value, times.high, times.low))
    return f"{numbers.estimate(Estimate(*more, unit='share', n=times.n))} more {what}"


def both(saving: Estimate | None, speedup: Estimate | None) -> str:
    """The saving and what it costs; "" when neither was measured."""
    told = [saved(saving)] if saving else []
    told += [time(speedup)] if speedup else []
    return " at ".join(told)


def body(result: Result) -> str:
    """The answer without learning."""
    return f"{'' if result.saving else 'no saving is proven at '}{both(result.saving, result.speedup)}"


def lead(result: Result) -> str:
    """The answer in a word or two."""
    if result.saving and result.saving.low > 1.0:
        return "Less memory"
    return "As asked" if result.asked.settings else "Not proven to save"


def own(kept: Kept) -> str:
    """What a setting saves by itself, and what it costs."""
    return both(kept.saving, kept.share) or "not measured"


def nothing(result: Result, tried: int) -> str:
    """Why no setting was kept."""
    bar = f"more than {numbers.share(SAVED)} of memory at no more than {numbers.share(result.slowdown_limit)} more time"
    if not tried:
        return f"no setting that can save memory fits this script on this machine; one would have to save {bar}."
    what = "the one setup tried is not" if tried == 1 else f"none of the {tried} setups tried is"
    return f"{what} proven to save {bar} with the same learning."


def bar(result: Result) -> str:
    """What had to be proven, for either goal."""
    if result.goal is Goal.SPEED:
        return f"A gain must be proven to exceed {numbers.share(DELTA)}"
    return (
        f"It must be proven that a step holds more than {numbers.share(SAVED)} less memory, and by the same pairs that "
        f"it takes no more than {numbers.share(result.slowdown_limit)} more time"
        f"{f' than with {result.asked} alone' if result.asked.settings else ''}"
    )


def what(result: Result) -> str:
    """What is called memory, for either goal."""
    if result.goal is Goal.SPEED:
        return "Memory is the peak of the training process."
    return (
        "Memory is the most that the training process had resident, or that tensors held on its device, from the end "
        "of the warm-up on; loader workers are not in it."
    )


def largest(result: Result) -> str:
    """The largest batch before and after; "" when that was not asked for."""
    told = [f"{_batch(found)} {when}" for found, when in zip(result.largest, ("as written", "tuned"))]
    return ", ".join(told)


def _batch(found: LargestBatch) -> str:
    if found.fits is None:
        return f"not known ({found.why_not or 'none was shown to fit'})"
    if found.extrapolated:
        promised = numbers.count(found.extrapolated)
        return f"{numbers.count(found.fits)} was run and fits, about {promised} by extrapolation,"
    return numbers.count(found.fits)
