"""The sentences that the terminal and the page share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from hotlap.knobs import knob_by_id
from hotlap.records import AS_WRITTEN, Estimate, Gate, Goal, Kept, Pair, Phases, Rejected, Result, Setup, Value, Word
from hotlap.report import asked_words, memory_words, numbers
from hotlap.stats import ALPHA, LOOKS

_WORTH_A_WORD = 0.01
_LOADS = {
    "others": "other processes used {} of its CPU time",
    "stolen": "the host took {} of it away",
    "throttled": "a quota of CPU time was spent too soon in {} of its periods",
}
LOUD_NOISE = 0.05  # above it, most single settings drown; the user is told in the answer itself

LEARNING = {
    Word.IDENTICAL: "it learns the same, bit for bit",
    Word.ROUNDING: "it learns the same, up to rounding",
    Word.EQUIVALENT: "it learns the same, within the noise of training",
    Word.CHANGED: "it does not learn the same",
    Word.UNDECIDED: "whether it learns the same could not be decided",
}

CONTRACTS = {
    "exact": "the same bits",
    "rounding": "the same maths in another order",
    "reduced": "lower precision",
    "recipe": "another training algorithm",
}

GATES = {
    "steps": "was every step that was planned compared",
    "events": "are the batches, the calls and the hyper-parameters the same",
    "checkpoint": "would a checkpoint have the same entries, so that each side can load the other's",
    "gradients": "does one step from the same weights and batch give the same gradients",
    "updates": "does a step from the same weights and gradients change them in the same way",
    "evaluation": "does the model answer the same in evaluation",
    "randomness": "does the randomness inside the model do as much as it did",
    "losses": "are the losses of the same seed the same, step by step",
    "trajectory": "do the losses stay together over the same seeds, within what noise alone does",
    "repetition": "do two runs of the same seed agree to the bit",
}

CEILINGS = {
    "matmul_flops": ("float32 products", "FLOP/s"),
    "matmul_bf16_flops": ("bfloat16 products", "FLOP/s"),
    "copy_bytes_s": ("memory copies", "B/s"),
}


def headline(result: Result) -> str:
    """The answer in one sentence."""
    return f"{lead(result)}: {body(result)}"


def body(result: Result) -> str:
    """The answer's sentence without its lead."""
    if not result.kept:
        return nothing(result)
    gains = [
        f"{numbers.estimate(gain)} {scope}"
        for gain, scope in ((result.speedup_run, "over the whole run"), (result.speedup, "per training step"))
        if gain
    ]
    measured = " and ".join(gains) or "no speed-up is proven"
    measured = memory_words.body(result) if result.goal is Goal.MEMORY else measured
    cost = f"; {asked_words.told(result)}" if result.asked.settings else ""
    return f"{measured}{cost}; {learning(result)}."


def learning(result: Result) -> str:
    """Whether it learns the same, as part of a sentence."""
    return LEARNING[result.verdict.word] if result.verdict else "whether it learns the same was not checked"


def lead(result: Result) -> str:
    """The answer in a word or two, no better than its weakest part."""
    if not result.kept:
        return "No answer yet" if result.cut_short else "Nothing to gain here"
    gain, verdict = answer(result), result.verdict
    if verdict is None or not verdict.word.may_enter_plan:
        return "Learning changed" if verdict and verdict.word is Word.CHANGED else "Not proven"
    if result.goal is Goal.MEMORY:
        return memory_words.lead(result)
    if gain is not None and gain.low > 1.0:
        return "Faster"
    if result.asked.settings:
        return "As asked"
    return "Slower" if gain is not None and gain.high < 1.0 else "Not proven faster"


def answer(result: Result) -> Estimate | None:
    """The number that matters most to the user: the whole run where its length is known, or the memory saved."""
    if result.goal is Goal.MEMORY:
        return memory_words.less(result.saving) if result.saving else None
    return result.speedup_run or result.speedup


def nothing(result: Result) -> str:
    """Why no setting was kept: what was tried, and what could have been found."""
    if result.cut_short:
        return f"{result.cut_short}; give it more time."
    tried = Counter(str(rejected.setup) for rejected in result.rejected)
    if result.goal is Goal.MEMORY:
        return memory_words.nothing(result, len(tried))
    gain = f"the smallest gain that could have been proven is {numbers.share(result.smallest_gain)}"
    if not tried:
        return f"no setting fits this script on this machine; {gain}."
    what = "the one setup tried is not" if len(tried) == 1 else f"none of the {len(tried)} setups tried is"
    return f"{what} proven faster with the same learning; {gain}."


def setting(knob: str, value: Value) -> str:
    """A knob and its value, as `--set` takes them."""
    return str(Setup.of({knob: value}))


def describe(knob: str) -> str:
    """What a knob does: the first line of its documentation."""
    try:
        return (knob_by_id(knob).__doc__ or "").strip().split("\n")[0]
    except (KeyError, ImportError):  # an older plan, or somebody else's knob
        return ""


def own_share(kept: Kept, goal: Goal = Goal.SPEED) -> str:
    """What leaving this setting out costs, and what it saves where that is the goal."""
    if goal is Goal.MEMORY:
        return memory_words.own(kept)
    return numbers.estimate(kept.share) if kept.share else "not measured"


def together(result: Result) -> str:
    """The same of the whole plan."""
    if result.goal is Goal.MEMORY:
        return memory_words.body(result)
    return numbers.estimate(result.speedup) if result.speedup else "not proven"


def best_as_it_is(result: Result) -> str:
    """What an empty plan says."""
    if result.goal is Goal.MEMORY:
        return f"nothing was proven to save memory within {numbers.share(result.slowdown_limit)} more time"
    return "the script is best as it is"


def verdict(result: Result) -> str:
    """The grade, the gate that decided, the seeds and the reason."""
    judged = result.verdict
    if judged is None:
        return "not judged: nothing was there to judge"
    seeds = f", {judged.seeds} seed{'' if judged.seeds == 1 else 's'}" if judged.seeds else ""
    guilty = f" At fault: {', '.join(judged.guilty)}." if judged.guilty else ""
    return f"{judged.word.value} (by {judged.gate}{seeds}): {sentence(judged.reason)}{guilty}"


def gate_numbers(gate: Gate) -> str:
    """Where and by how much a gate saw a difference; "" when it says neither."""
    where = [f"first at step {numbers.count(gate.step)}"] if gate.step is not None else []
    where += [f"in {gate.parameter}"] if gate.parameter else []
    where += [f"gap {numbers.small(gate.gap)}"] if gate.gap is not None else []
    where += [f"noise allows {numbers.small(gate.band)}"] if gate.band is not None else []
    return ", ".join(where)


def level(contract: str, gain: Estimate | None) -> str:
    """The speed-up when only settings up to a contract are kept."""
    return f"up to {contract}: {numbers.estimate(gain) if gain else 'not measured'}"


def memory(result: Result) -> str:
    """Peak memory before and after; "" when it was not measured."""
    before, after = result.peak_bytes
    if before <= 0:
        return ""
    return f"{numbers.size(before)} as written" + (
        f", {numbers.size(after)} tuned" if after > 0 and result.kept else ""
    )


def payback(result: Result) -> str:
    """When the plan has earned back what its start-up costs; "" when there is no plan."""
    gain, steps = result.speedup, result.payback_steps
    if not result.kept or result.goal is Goal.MEMORY or (result.asked.settings and not result.added_speedup):
        return ""
    if steps:
        time = f" ({numbers.seconds(steps * result.tuned.total_s)})" if result.tuned else ""
        return f"after {numbers.count(steps)} training step{'' if steps == 1 else 's'}{time}"
    if steps == 0 or (gain and gain.low > 1.0):
        return "from the first step: starting costs no more than before"
    return "never: no gain per step is proven"


def noise(result: Result) -> str:
    """How noisy the machine is, in words."""
    spread, gain = numbers.share(result.noise), numbers.share(result.smallest_gain)
    seen = any(not pair.round and pair.stage in ("noise", "confirm", "leave-one-out") for pair in result.pairs)
    what = f"{'' if result.goal is Goal.SPEED else 'the time of '}one run {'differs' if seen else 'is taken to differ'}"
    said = f"{what} from the next by {spread} (standard deviation of a pair), "
    said += f"so gains below about {gain} stay unproven." if result.goal is Goal.SPEED else memory_words.NOISE
    if not is_noisy(result):
        return said
    return f"This machine is noisy: {said}{_load(result)} Close other programs and tune again."


def _load(result: Result) -> str:
    """What took CPU time from the trials; "" when nothing worth a word did."""
    taken = [_LOADS[name].format(numbers.share(of)) for name, of in result.load.items() if of >= _WORTH_A_WORD]
    return f" Meanwhile {', '.join(taken)}." if taken else ""


def is_noisy(result: Result) -> bool:
    """The noise is worth saying aloud."""
    return result.noise > LOUD_NOISE


def evidence(rejected: Rejected) -> str:
    """What was measured of a rejected setup, speed first; "" when nothing was."""
    parts = [numbers.estimate(rejected.evidence)] if rejected.evidence else []
    if rejected.verdict:
        parts.append(f"learning {rejected.verdict.word.value}")
    return ", ".join(parts)


def skipped_by_reason(skipped: dict[str, str]) -> dict[str, list[str]]:
    """Reason to the knobs that it kept from being tried, in their order."""
    knobs: defaultdict[str, list[str]] = defaultdict(list)
    for knob, reason in skipped.items():
        knobs[reason].append(knob)
    return dict(knobs)


def phase_names(*steps: Phases | None) -> list[str]:
    """Every phase that took time in any of the steps, in order."""
    names = {name: None for step in steps if step for name in step.phases_s}
    return [name for name in names if any(step and step.phases_s.get(name, 0.0) > 0 for step in steps)]


def ceilings(ceiling: dict[str, float]) -> str:
    """The measured limits of the machine; "" when none was measured."""
    shown = [(*CEILINGS.get(key, (key.replace("_", " "), "/s")), value) for key, value in ceiling.items()]
    return ", ".join(f"{name} {numbers.rate(value, unit)}" for name, unit, value in shown)


def bounds(found: dict[str, Estimate], pairs: Sequence[Pair]) -> str:
    """What each area could give at most, and in which company that was measured; "" when it was not."""
    told = "; ".join(f"{numbers.estimate(gain)} without the {area} work" for area, gain in found.items())
    company = next((pair.beside for pair in pairs if pair.stage == "bound"), AS_WRITTEN)
    return f"{told}, beside {company}" if told and company.settings else told


def prices(found: dict[str, Estimate]) -> str:
    """What the script's own wishes cost; "" when nothing was measured."""
    return "; ".join(f"{numbers.estimate(gain)} with {knob} off" for knob, gain in found.items())


def method(result: Result) -> list[str]:
    """How the answer was measured, in plain words."""
    stages = Counter(pair.stage for pair in result.pairs)
    ran = ", ".join(f"{number} {stage}" for stage, number in stages.items())
    blocks = len({pair.block for pair in result.pairs})
    looks = ", ".join(map(str, LOOKS[:-1]))
    interleaved = (
        f" There were {len(result.pairs)} pairs in {blocks} interleaved blocks ({ran})." if result.pairs else ""
    )
    runs = (
        "Every trial was a fresh process running the script as it is. Each candidate ran back to back with the "
        "untouched script, and one such pair gives one ratio of times per step, so slow drift of the machine cancels."
    )
    if any(pair.round for pair in result.pairs):
        runs += (
            " Settings that can be switched while the script trains were ranked, and left out for their shares, a few "
            "steps at a time within one process; there a pair is a round, not two runs."
        )
    proof = (
        "Searching only ranks. The answer comes from fresh pairs that the search never saw, looked at after "
        f"{looks} and {LOOKS[-1]} pairs, and else only where the budget ends; the error of {numbers.share(ALPHA)} "
        f"is split over these looks. {memory_words.bar(result)}. Intervals are "
        "95 % intervals, and n counts processes or pairs of them, never steps."
    )
    learning = (
        "Learning was judged against the untouched script at the same seeds, and a gate that could not be checked "
        f"counts as not passed. {memory_words.what(result)}"
    )
    return [runs + interleaved, proof, capital(noise(result)), learning]


def capital(text: str) -> str:
    """The text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """The text with a full stop."""
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
