"""Does a setup keep its promise to repeat itself? Two runs of one seed, held against each other."""

from __future__ import annotations

from hotlap.knobs import knob_by_id
from hotlap.lab import Lab
from hotlap.records import Gate, Setup, Trial
from hotlap.trials.blocks import Window
from hotlap.verify.repetition import repetition_gate


def promised(setup: Setup) -> Setup:
    """The settings that promise it."""
    return setup.without(*(knob for knob in setup.values if not knob_by_id(knob).repeats))


def repetition(lab: Lab, setup: Setup, window: Window) -> tuple[Gate, ...]:
    """The gate that says so, over a window of confirmation; () where no setting promises it."""
    if not promised(setup).settings:
        return ()
    lab.trying(f"does it repeat itself? {setup}")
    steps = window.warmup + window.steps
    runs = [
        lab.run(
            Trial(
                id=lab.next_id("repeat"),
                purpose="repeat",
                setup=setup,
                seed=lab.seed,
                block=0,
                steps=steps,
                limit_s=max(90.0, lab.budget_s / 4),
            )
        )
        for _ in range(2)
    ]
    gate = repetition_gate(*runs)
    lab.logbook.append("repetition", setup=setup, gate=gate)
    lab.learnt(f"{gate.reason}: {setup}")
    return (gate,)
