"""The claims of speed and of equal learning, against reference values and against what must always hold."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import log_ratios, pairs_s

from hotlap import stats
from hotlap.answer import payback_steps
from hotlap.records import Estimate
from hotlap.stats import LOOKS, Look, Sameness

close = pytest.approx


def flat(pair_ratios: list[float]) -> tuple[list[list[float]], list[list[float]]]:
    """Step times whose pairs have these log ratios."""
    return [[0.1 * math.exp(x)] * 3 for x in pair_ratios], [[0.1] * 3 for _ in pair_ratios]


# speedup


def test_speedup_is_the_geometric_mean_with_students_interval():
    """The interval is scipy's own for the mean of the log ratios."""
    logs = [0.30, 0.42, 0.35, 0.28, 0.40]
    reference = scipy.stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)

    answer = stats.speedup(*flat(logs))

    assert answer.value == close(scipy.stats.gmean(np.exp(logs)))
    assert (answer.low, answer.high) == close((math.exp(reference.low), math.exp(reference.high)))
    assert (answer.unit, answer.n) == ("x", 5)


def test_speedup_counts_a_trial_once_however_many_steps_it_has():
    """Steps of one process share its luck, so more of them make no narrower interval."""
    short = stats.speedup([[0.2], [0.3]], [[0.1], [0.1]])
    long = stats.speedup([[0.2] * 500, [0.3] * 500], [[0.1] * 500, [0.1] * 500])

    assert (long.value, long.low, long.high, long.n) == close((short.value, short.low, short.high, 2))


@pytest.mark.parametrize(
    ("reference_s", "candidate_s"),
    [
        ([], []),
        ([[0.1]], [[0.1]]),
        ([[0.1], [0.1]], [[0.1]]),
        ([[0.1], []], [[0.1], [0.1]]),
        ([[0.1], [0.0]], [[0.1], [0.1]]),
    ],
)
def test_speedup_refuses_what_is_no_set_of_pairs(reference_s: list[list[float]], candidate_s: list[list[float]]):
    """Under two pairs, an unpaired trial, a trial without steps, no time at all."""
    with pytest.raises(ValueError):
        stats.speedup(reference_s, candidate_s)


def test_speedup_of_wildly_different_pairs_is_wide_not_a_crash():
    """Two pairs that disagree by 60 powers of e say nothing, and say so."""
    answer = stats.speedup([[1e30], [1e-30]], [[1.0], [1.0]])

    assert answer.low < 1e-100
    assert answer.high > 1e100


@settings(deadline=None)
@given(pairs_s())
def test_swapping_the_arms_inverts_the_estimate_and_mirrors_the_interval(pairs):
    """Twice as fast one way is half as fast the other way."""
    there, back = stats.speedup(*pairs), stats.speedup(*reversed(pairs))
    assume(there.high < 1e150)  # beyond that the interval is cut off at the largest float

    assert back.value == close(1 / there.value, rel=1e-9)
    assert (back.low, back.high) == close((1 / there.high, 1 / there.low), rel=1e-6)


@settings(deadline=None)
@given(pairs_s(), st.floats(1e-3, 1e3))
def test_the_unit_of_time_changes_nothing(pairs, factor):
    """Milliseconds give the answer of seconds."""
    scaled = [[[t * factor for t in trial] for trial in arm] for arm in pairs]

    assert same(stats.speedup(*scaled), stats.speedup(*pairs))


@settings(deadline=None)
@given(pairs_s(), st.lists(st.floats(0.1, 10), min_size=8, max_size=8))
def test_drift_common_to_a_pair_changes_nothing(pairs, drift):
    """A machine that slows down between pairs, not within them, does no harm."""
    drifted = [[[t * d for t in trial] for trial, d in zip(arm, drift, strict=False)] for arm in pairs]

    assert same(stats.speedup(*drifted), stats.speedup(*pairs))


@settings(deadline=None)
@given(pairs_s(), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_changes_nothing(pairs, shuffler: random.Random):
    """Pairs have no order."""
    order = list(range(len(pairs[0])))
    shuffler.shuffle(order)

    assert same(stats.speedup(*[[arm[i] for i in order] for arm in pairs]), stats.speedup(*pairs))


@settings(deadline=None)
@given(pairs_s())
def test_the_interval_holds_the_value(pairs):
    """Low end, value and high end come in this order."""
    answer = stats.speedup(*pairs)

    assert answer.low <= answer.value <= answer.high


@settings(deadline=None)
@given(pairs_s())
def test_the_same_pairs_again_never_widen_the_interval(pairs):
    """More evidence of the same kind makes a claim no weaker."""
    once, twice = stats.speedup(*pairs), stats.speedup(*[[*arm, *arm] for arm in pairs])

    assert twice.low >= once.low * (1 - 1e-9)
    assert twice.high <= once.high * (1 + 1e-9)


def same(left: Estimate, right: Estimate) -> bool:
    """Equal up to rounding; far ends compared as logs, since a wide interval magnifies it."""
    logs = [[math.log(max(e, 1e-300)) for e in (x.value, x.low, x.high)] for x in (left, right)]
    return logs[0] == close(logs[1], rel=1e-6, abs=1e-6) and left.n == right.n


# the sequential confirmation


def test_the_looks_use_the_published_constants():
    """One-sided 5 % spent over four looks, the later ones more: t = 5.84, 3.36, 2.63, 2.30 at 4, 6, 9 and 13 pairs."""
    for (n, tail), t in zip(stats.looks().items(), (5.84, 3.36, 2.63, 2.30), strict=True):
        assert scipy.stats.t.ppf(1 - tail, n - 1) == close(t, abs=0.005)


@pytest.mark.parametrize("n", LOOKS)
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_look_decides_exactly_at_its_bound(n: int, share: float):
    """Just above the bound is accepted, just below is not, and the mirror image is dropped."""
    noise = [0.03 * (-1) ** i for i in range(n)]
    noise = [x - statistics.fmean(noise) for x in noise]
    tail = stats.PLANNED[n] * share
    half = scipy.stats.t.ppf(1 - tail, n - 1) * statistics.stdev(noise) / math.sqrt(n)
    undecided = Look.NOT_PROVEN if n == 13 else Look.CONTINUE
    bar = math.log(1.01)

    def at(mean: float) -> Look:
        return stats.look([mean + x for x in noise], share=share)

    assert at(bar + half * 1.001) is Look.ACCEPT
    assert at(bar + half * 0.999) is undecided
    assert at(bar - half * 0.999) is undecided
    assert at(bar - half * 1.001) is Look.DROP


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 7, 8, 10, 11, 12])
def test_nothing_is_decided_between_the_looks(n: int):
    """Peeking at other times would spend error that nobody counted."""
    assert stats.look([0.5] * n) is Look.CONTINUE


closings = st.lists(st.integers(0, 14)).map(lambda drawn: sorted(set(drawn)))


@given(closings, st.floats(0.1, 1.0))
def test_all_looks_together_spend_the_error_and_no_more(closings: list[int], share: float):
    """However often a budget ends and more is given; what was spent by then stays as it was."""
    held = stats.looks(closings, share)
    before = stats.looks(closings[:-1], share)

    assert math.fsum(held.values()) == close(share * stats.ALPHA)
    assert list(held) == sorted(held)
    assert held.items() >= {(n, error) for n, error in before.items() if not closings or n < closings[-1]}


@pytest.mark.parametrize(("pairs", "tail"), [(3, 0.025), (4, 0.0275), (5, 0.0225), (7, 0.0175), (11, 0.010)])
def test_a_budget_that_ends_brings_a_look_forward(pairs: int, tail: float):
    """It has half of the error that is left, beside its own where it was planned; later ones have the other half."""
    noise = [0.03 * (-1) ** i for i in range(pairs)]
    noise = [x - statistics.fmean(noise) for x in noise]
    half = scipy.stats.t.ppf(1 - tail, pairs - 1) * statistics.stdev(noise) / math.sqrt(pairs)

    def at(mean: float) -> Look:
        return stats.look([math.log(1.01) + mean + x for x in noise], closings=(pairs,))

    assert at(half * 1.001) is Look.ACCEPT
    assert at(half * 0.999) is Look.CONTINUE
    assert at(-half * 1.001) is Look.DROP
    assert math.fsum(error for at, error in stats.looks((pairs,)).items() if at > pairs) == close(
        math.fsum(error for at, error in stats.PLANNED.items() if at > pairs) / 2
    )


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_two_pairs_prove_nothing(pairs: int):
    """Whenever the budget ends."""
    assert stats.look([0.5, 0.501][:pairs], closings=(pairs,)) is Look.CONTINUE


def test_a_confirmation_has_an_end():
    """Adding pairs until it looks good is not on offer."""
    with pytest.raises(ValueError, match="ends after 13"):
        stats.look([0.0] * 14)


@settings(deadline=None)
@given(st.sampled_from(LOOKS), st.data(), st.floats(1e-6, 0.5), st.floats(0.1, 1.0))
def test_a_look_is_monotone_in_the_mean(n, data, shift, share):
    """The same noise around a larger gain is never judged worse, nor with more of the error."""
    order = [Look.DROP, Look.CONTINUE, Look.NOT_PROVEN, Look.ACCEPT]
    logs = data.draw(st.lists(st.floats(-0.3, 0.3), min_size=n, max_size=n))
    now, better = stats.look(logs, share=share), stats.look([x + shift for x in logs], share=share)

    assert order.index(better) >= order.index(now)
    if now is Look.ACCEPT:
        assert stats.look(logs) is Look.ACCEPT


@settings(deadline=None)
@given(st.sampled_from(LOOKS), st.data())
def test_what_is_accepted_would_be_dropped_with_the_labels_swapped(n: int, data):
    """Which of two arms is called the candidate decides nothing."""
    logs = data.draw(st.lists(st.floats(-0.3, 0.3), min_size=n, max_size=n))

    if stats.look(logs) is Look.ACCEPT:
        assert stats.look([-one for one in logs]) is Look.DROP


@settings(deadline=None)
@given(log_ratios, st.randoms(use_true_random=False))
def test_a_look_knows_no_order(logs, shuffler: random.Random):
    """The decision and the number reported depend on the set of pairs alone."""
    mixed = list(logs)
    shuffler.shuffle(mixed)

    assert stats.look(mixed) is stats.look(logs)
    assert same(stats.confirmed_speedup(mixed), stats.confirmed_speedup(logs))


@settings(deadline=None)
@given(st.integers(3, 13), st.data())
def test_what_is_accepted_is_reported_above_the_bar(n, data):
    """A report never says "proven faster" beside an interval that reaches down to no gain, nor the reverse."""
    logs = data.draw(st.lists(st.floats(-0.05, 0.15), min_size=n, max_size=n))
    closings = (3, n)
    estimate = stats.confirmed_speedup(logs, closings)
    assume(abs(estimate.low - 1.01) > 1e-9)

    assert (stats.look(logs, closings=closings) is Look.ACCEPT) == (estimate.low > 1.01)


@settings(deadline=None)
@given(log_ratios)
def test_the_confirmed_interval_holds_the_plain_one(logs):
    """Allowing for the stopping can only widen."""
    plain, confirmed = stats.speedup(*flat(logs)), stats.confirmed_speedup(logs)

    assert confirmed.value == close(plain.value)
    assert confirmed.low <= plain.low * (1 + 1e-9)
    assert confirmed.high >= plain.high * (1 - 1e-9)


@pytest.mark.parametrize(("gain", "found"), [(0.0, 0.01), (0.01, 0.036), (0.03, 0.33), (0.05, 0.84), (0.10, 1.0)])
def test_power_and_coverage_at_four_percent_noise(gain: float, found: float):
    """Acceptance as tabled, and the reported interval holds the truth in at least 93 % of all runs."""
    rng = np.random.default_rng(1)
    runs, accepted, covered = 600, 0, 0
    for row in rng.normal(math.log1p(gain), 0.04, (runs, LOOKS[-1])).tolist():
        ends = next(n for n in LOOKS if stats.look(row[:n]) is not Look.CONTINUE)
        estimate = stats.confirmed_speedup(row[:ends])
        accepted += stats.look(row[:ends]) is Look.ACCEPT
        covered += estimate.low <= 1 + gain <= estimate.high

    assert accepted / runs == close(found, abs=4 * math.sqrt(max(found * (1 - found), 0.01) / runs))
    assert covered / runs >= 0.93


# noise


def test_noise_without_data_is_the_prior():
    """Before any pair the noise is what such machines showed."""
    assert stats.pooled_noise([]) == close(0.04)


def test_noise_pools_about_each_groups_own_mean():
    """Arms of different speed do not look noisy for it."""
    groups = [[0.01, -0.02, 0.03], [0.51, 0.48, 0.53, 0.50], [9.0]]
    squares = sum(np.var(g, ddof=1) * (len(g) - 1) for g in groups[:2])

    assert stats.pooled_noise(groups, prior_df=0) == close(math.sqrt(squares / 5))
    assert stats.pooled_noise(groups) == close(math.sqrt((4 * 0.04**2 + squares) / 9))


def test_one_pair_of_the_same_thing_is_evidence():
    """A machine on which the script differs from itself by half is not called quiet."""
    assert stats.pooled_noise([], prior_df=0, same=[-0.5]) == close(0.5)
    assert stats.pooled_noise([[0.1]], same=[0.5]) == close(math.sqrt((4 * 0.04**2 + 0.25) / 5))


def test_noise_from_nothing_at_all_is_refused():
    """No prior and no two pairs."""
    with pytest.raises(ValueError):
        stats.pooled_noise([[0.1]], prior_df=0)


def test_three_pairs_are_held_by_the_prior():
    """The documented range: within 0.8 to 1.4 of a true 4 % in 95 of 100 tunes, against 0.16 to 1.9 without."""
    draws = np.random.default_rng(0).normal(0.0, 0.04, (4000, 3)).tolist()
    low, high = np.quantile([stats.pooled_noise([d]) / 0.04 for d in draws], [0.025, 0.975])

    assert low > 0.8
    assert high < 1.41


def test_the_smallest_provable_gain_is_found_four_times_in_five():
    """Formula and simulation agree: at 13 pairs and 4 % noise about 4.8 %, which is accepted in about 80 %."""
    gain = stats.smallest_provable_gain(0.04, 13)

    assert gain == close(1.01 * math.exp((2.303 + 0.84) * 0.04 / math.sqrt(13)) - 1, abs=1e-5)
    assert 0.045 < gain < 0.05


@settings(deadline=None)
@given(st.floats(1e-4, 0.2), st.integers(2, 40))
def test_more_pairs_or_less_noise_prove_smaller_gains(noise, pairs):
    """And never less than the bar."""
    gain = stats.smallest_provable_gain(noise, pairs)

    assert gain > stats.smallest_provable_gain(noise, pairs + 1) > stats.DELTA
    assert gain < stats.smallest_provable_gain(noise * 1.1, pairs)


def test_one_pair_proves_nothing():
    """There is no interval to promise."""
    with pytest.raises(ValueError):
        stats.smallest_provable_gain(0.04, 1)


# equal learning


@pytest.mark.parametrize(
    ("differences", "decision"),
    [
        ([0.001, -0.002, 0.000, 0.001, -0.001], Sameness.EQUIVALENT),
        ([0.101, 0.098, 0.100, 0.102, 0.099], Sameness.DIFFERENT),
        ([-0.101, -0.098, -0.100, -0.102, -0.099], Sameness.DIFFERENT),  # suspiciously fast learning, too
        ([0.05, -0.04, 0.03, -0.02, 0.01], Sameness.UNDECIDED),
        ([0.02, 0.02], Sameness.UNDECIDED),  # on the margin is neither inside nor outside
        ([0.0, 0.0], Sameness.EQUIVALENT),
        ([0.0], Sameness.UNDECIDED),
        ([], Sameness.UNDECIDED),
        ([0.0, math.nan, 0.0], Sameness.UNDECIDED),
        ([0.0, math.inf], Sameness.UNDECIDED),
    ],
)
def test_equivalence_within_two_percent(differences: list[float], decision: Sameness):
    """Inside the margins, wholly outside, or not to be told."""
    assert stats.equivalence(differences, 0.02).decision is decision


def test_equivalence_agrees_with_two_one_sided_tests():
    """Equivalent exactly when scipy rejects both "too high" and "too low" at 5 %."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        sample = rng.normal(0.005, 0.01, int(rng.integers(2, 9)))
        below = scipy.stats.ttest_1samp(sample, 0.01, alternative="less").pvalue < 0.05
        above = scipy.stats.ttest_1samp(sample, -0.01, alternative="greater").pvalue < 0.05

        assert (stats.equivalence(sample.tolist(), 0.01).decision is Sameness.EQUIVALENT) == (below and above)


def test_equivalence_reports_a_95_percent_interval_and_decides_by_the_90_percent_one():
    """What reaches a reader is an Estimate like any other."""
    sample = [0.01, 0.03, 0.02, 0.00]
    wide, narrow = (scipy.stats.ttest_1samp(sample, 0.0).confidence_interval(level) for level in (0.95, 0.90))

    answer = stats.equivalence(sample, 1.0, unit="nats")

    assert answer.difference is not None
    assert (answer.difference.low, answer.difference.high) == close((wide.low, wide.high))
    assert answer.band == close((narrow.low, narrow.high))
    assert (answer.difference.unit, answer.difference.n) == ("nats", 4)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_equivalence_needs_a_margin(margin: float):
    """A loss that did not fall gives no yardstick, and must not pass by accident."""
    with pytest.raises(ValueError, match="margin"):
        stats.equivalence([0.0, 0.0], margin)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.floats(1e-3, 1))
def test_equivalence_is_two_sided(differences, margin):
    """Learning better by so much is judged like learning worse by so much."""
    mirrored = stats.equivalence([-d for d in differences], margin)

    assert mirrored.decision is stats.equivalence(differences, margin).decision


# blocks and payback


def test_a_disturbed_block_is_found_from_its_baseline():
    """A neighbour that triples the step time stands out; 5 % never does."""
    assert stats.bad_blocks([0.046, 0.047, 0.190, 0.0465, 0.045]) == (2,)
    assert stats.bad_blocks([0.100, 0.100, 0.105, 0.100]) == ()
    assert stats.bad_blocks([0.100, 0.100, 0.112, 0.100]) == (2,)
    assert stats.bad_blocks([]) == ()


def test_a_noisy_machine_gets_a_wider_limit():
    """Five robust deviations once these exceed 10 %."""
    assert stats.bad_blocks([0.08, 0.09, 0.10, 0.11, 0.13]) == ()


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 10), min_size=1, max_size=12), st.floats(0.01, 100))
def test_bad_blocks_never_are_the_majority(means, factor):
    """And the unit of time is nothing to them."""
    logs = [math.log(m) for m in means]
    gaps = [abs(y - statistics.median(logs)) for y in logs]
    limit = max(5 * 1.4826 * statistics.median(gaps), math.log(1.10))
    assume(all(abs(gap - limit) > 1e-9 for gap in gaps))

    assert stats.bad_blocks([m * factor for m in means]) == stats.bad_blocks(means)
    assert len(stats.bad_blocks(means)) <= len(means) / 2


@pytest.mark.parametrize(
    ("extra_s", "reference_s", "candidate_s", "steps"),
    [
        (10.0, 0.2, 0.1, 100),
        (10.05, 0.2, 0.1, 101),
        (0.0, 0.2, 0.1, 0),
        (-5.0, 0.2, 0.1, 0),
        (10.0, 0.1, 0.1, None),
        (10.0, 0.1, 0.2, None),
        (-5.0, 0.1, 0.2, None),
        (1e300, 1e-12 + 5e-25, 1e-12, None),
        (math.nan, 0.1, math.nan, None),
    ],
)
def test_payback(extra_s: float, reference_s: float, candidate_s: float, steps: int | None):
    """Rounded up to whole steps; None when it never pays."""
    assert payback_steps(extra_s, reference_s, candidate_s) == steps
