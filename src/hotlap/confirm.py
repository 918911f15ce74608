"""Fresh pairs: the proof that a setup serves the goal, and the price of what the user asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from hotlap import stats
from hotlap.goals import Aim, Faster
from hotlap.lab import Lab
from hotlap.records import AS_WRITTEN, Curve, Estimate, Pair, Setup
from hotlap.stats import Look
from hotlap.trials import blocks
from hotlap.trials.blocks import Window
from hotlap.verify.trajectory import MOST_SEEDS

STAGE = "confirm"
_MOST_DISTURBED = 0.25  # of the confirmation pairs; beyond that the machine is no place to measure
_PRICED = stats.LOOKS[1]  # pairs for a price, which nothing has to be proven of
_FEWEST_SEEDS, _MOST_TIMES = 6, 4  # of longer trainings for their losses alone, and so many times as long
_FASTER = Faster()


@dataclass(frozen=True)
class Confirmation:
    """What the pairs of a confirmation say."""

    pairs: list[Pair]
    """Of the setup with the asked-for settings alone, which are none in most tunes."""
    total: list[float]
    """ln of how many times faster the setup is than the script as written."""
    curves: list[Curve]
    """Losses of the script as written and of the setup."""
    closings: tuple[int, ...] = ()
    """Numbers of pairs after which a budget had ended, see `stats.looks`."""

    @property
    def ratios(self) -> list[float]:
        """ln of how many times faster the setup is than the asked-for settings alone."""
        return [blocks.log_gain(pair) for pair in self.pairs]


def confirm(lab: Lab, setup: Setup, window: Window, asked: Setup = AS_WRITTEN, aim: Aim = _FASTER) -> Confirmation:
    """Fresh pairs until a look decides, the pairs run out or the budget ends, which brings a look forward.

    Args:
        lab: Where they run.
        setup: On trial.
        window: How long to measure.
        asked: Settings that the user asked for whatever they cost: run in every block as well, and to be beaten.
        aim: At what.
    """
    arms = [asked, setup] if asked.settings else [setup]
    pairs: list[Pair] = []
    most = 0
    while len(good := blocks.undisturbed(pairs)) < stats.LOOKS[-1]:
        if len(pairs) - len(good) > max(1.0, _MOST_DISTURBED * len(pairs)):
            lab.cut_short = f"the machine was disturbed in {len(pairs) - len(good)} of {len(pairs)} confirmation pairs"
            break
        if not lab.affordable([AS_WRITTEN, *arms]):
            _close(lab, setup, against(lab.pairs, setup, asked), most, aim)
            break
        more = lab.block(STAGE, AS_WRITTEN, arms, window)
        if len(more) < len(arms):
            break  # a candidate failed here, which has been written down
        pairs.append(more[-1])
        beside = against(lab.pairs, setup, asked)
        lab.learnt(f"confirmation pair {len(pairs)}: {aim.told(against(more, setup, asked))}")
        if aim.look(beside, lab.closed(setup)) is not Look.CONTINUE:
            break
        most = max(most, len(beside))
    good = blocks.undisturbed(pairs)
    if len(good) < len(pairs):
        lab.learnt(f"{len(pairs) - len(good)} of {len(pairs)} pairs dropped: their baseline was disturbed")
    return _confirmation(lab, setup, asked)


def further_looks(lab: Lab, setup: Setup, window: Window, curves: Sequence[Curve]) -> Iterator[list[Curve]]:
    """Further paired trainings for their losses alone, where a confirmation cannot tell whether they are alike.

    Longer ones instead of those of the confirmation, as far as the budget and the script allow, for few losses are
    mostly noise; where they allow none, more of the same length beside these. As many as make the most seeds. What an
    interrupted tune looked at comes first, as it was, so that a look is never held twice.

    Args:
        lab: Where they run, with enough left for a confirmation of what would be left without them.
        setup: That was confirmed.
        window: As there.
        curves: Of the confirmation.
    """
    seen: dict[int, list[Curve]] = {1: list(curves)}  # by how many times as long as those of the confirmation
    for times, seeds in lab.losses_seen.get(setup, ()):
        _train(lab, setup, window, times, seen.setdefault(times, []), lambda found, seeds=seeds: len(found) < seeds)
        yield list(seen[times])
    pair = [AS_WRITTEN, setup]
    kept_s, pair_s = sum(map(lab.cost_s, pair * stats.LEAST)), sum(map(lab.cost_s, pair))
    times = _affordable_times(window, lab.left_s - kept_s, pair_s)
    longer_s = pair_s + len(pair) * (times - 1) * (window.warmup + window.steps) * window.step_s

    def on(found: Sequence[Curve]) -> bool:
        cost_s = max(longer_s, sum(lab.cost_s(arm, "losses") for arm in pair))  # an evaluation on the way costs as well
        return len(found) < MOST_SEEDS and cost_s + kept_s < lab.left_s

    before = len(found := seen.setdefault(times, []))
    _train(lab, setup, window, times, found, on)
    if len(found) > before:
        lab.losses_seen[setup] = (*lab.losses_seen.get(setup, ()), (times, len(found)))
        lab.logbook.append("losses", setup=setup, times=times, seeds=len(found))
        yield list(found)


def _train(
    lab: Lab, setup: Setup, window: Window, times: int, found: list[Curve], on: Callable[[Sequence[Curve]], bool]
) -> None:
    """More curves of so many times the steps, each of a further seed, for as long as that goes on."""
    steps = times * (window.warmup + window.steps)
    while on(found):
        lab.trying(f"losses over {steps} steps: {setup}")
        block, kind = lab.next_block("losses"), "losses"
        trials = [replace(lab.timing(arm, block, window), purpose=kind, steps=steps) for arm in (AS_WRITTEN, setup)]
        records = [lab.run(replace(trial, id=lab.next_id(kind))) for trial in trials]  # each with the cores to itself
        if why := next(filter(None, map(blocks.failed, records)), ""):
            lab.learnt(f"losses are compared over {len(found)} seeds, since the next one failed: {why}")
            break
        found.append(Curve(records[0].trial.seed, records[0].steps.losses, records[1].steps.losses))
        lab.learnt(f"losses of seed {len(found)} over {steps} steps: those before cannot tell if they are alike")


def _affordable_times(window: Window, left_s: float, pair_s: float) -> int:
    """How many times as long as a pair of the confirmation the pairs may be of which a time pays for enough."""
    steps = window.warmup + window.steps
    by_time = 1 + int((left_s / _FEWEST_SEEDS - pair_s) / (2 * steps * window.step_s))
    by_script = _MOST_TIMES if window.available is None else window.available // steps
    return max(1, min(by_time, by_script, _MOST_TIMES))


def _close(lab: Lab, setup: Setup, pairs: Sequence[Pair], most: int, aim: Aim) -> None:
    """The look that the end of the budget brings forward, unless one was held with as many pairs or more.

    Without a decision the confirmation is cut short.
    """
    if len(pairs) > max(lab.closed(setup), default=stats.LEAST - 1) and len(pairs) >= most:
        lab.close(setup, len(pairs))
    if aim.look(pairs, lab.closed(setup)) is Look.CONTINUE:
        lab.cut_short = f"the budget ended after {len(pairs)} confirmation pairs"


def price(lab: Lab, asked: Setup, window: Window, aim: Aim = _FASTER) -> Confirmation:
    """As many pairs of the asked-for settings with the script as written as tell what they cost, or as are paid for."""
    while len(against(lab.pairs, asked)) < _PRICED and lab.affordable([AS_WRITTEN, asked]):
        more = lab.block(STAGE, AS_WRITTEN, [asked], window)
        if not more:
            break
        lab.learnt(f"the price of {asked}: {aim.told(more)}")
    return _confirmation(lab, asked)


def against(pairs: Sequence[Pair], setup: Setup, asked: Setup = AS_WRITTEN) -> list[Pair]:
    """The confirmation pairs of a setup that were not disturbed, with the asked-for settings as their reference."""
    good = blocks.undisturbed(_of(pairs, setup))[: stats.LOOKS[-1]]  # one that was bad may be good among more
    if not asked.settings:
        return good
    alone = {pair.block: pair for pair in _of(pairs, asked)}
    return [
        replace(
            pair,
            beside=asked,
            reference=own.candidate,
            reference_s=own.candidate_s,
            reference_bytes=own.candidate_bytes,
        )
        for pair in good
        if (own := alone.get(pair.block))
    ]


def estimated(pairs: Sequence[Pair], worth: Callable[[Pair], float], closings: Sequence[int] = ()) -> Estimate | None:
    """How many times faster, or less memory, by the pairs of a confirmation; None when they are too few to tell."""
    return stats.confirmed_speedup([worth(pair) for pair in pairs], closings=closings) if len(pairs) > 1 else None


def curve_of(lab: Lab, pair: Pair) -> Curve:
    """The losses of a pair's two trainings."""
    losses = [lab.recordings[trial].steps.losses for trial in (pair.reference, pair.candidate)]
    return Curve(pair.seed, losses[0], losses[1])


def same_losses(lab: Lab) -> bool:
    """Whether the script as written lost alike to the bit wherever it was run twice at one seed."""
    twice = [curve_of(lab, pair) for pair in lab.pairs if pair.stage == "noise" and pair.setup == AS_WRITTEN]
    return all(r == c for curve in twice for r, c in zip(curve.reference, curve.candidate, strict=False))


def _of(pairs: Sequence[Pair], setup: Setup) -> list[Pair]:
    return [pair for pair in pairs if pair.stage == STAGE and pair.setup == setup]


def _confirmation(lab: Lab, setup: Setup, asked: Setup = AS_WRITTEN) -> Confirmation:
    curves = [curve_of(lab, pair) for pair in _of(lab.pairs, setup)]
    total = [blocks.log_gain(pair) for pair in against(lab.pairs, setup)]
    return Confirmation(against(lab.pairs, setup, asked), total, curves, lab.closed(setup))
