"""Rounds on a device that runs behind the host: a turn's counted steps hold all of their work, and no other's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hotlap.inside.interleave import Interleaver
from hotlap.rounds import NOT_COUNTED, Turn

FIRST, TURN = 10, Turn(settle=2, keep=4)


class Changes:
    def undo(self) -> None:
        pass


def test_the_device_is_waited_for_where_counting_begins_and_ends() -> None:
    task = {"arms": [[], [], []], "seed": 3, "options": {"first": FIRST, "settle": TURN.settle, "keep": TURN.keep}}
    host: Any = SimpleNamespace(task=task, apart=Changes)
    recorder: Any = SimpleNamespace(tape=SimpleNamespace(arm=NOT_COUNTED), wait_at=0, on_end=[])
    rounds = Interleaver(host, recorder)
    arms, waited = [NOT_COUNTED] * (FIRST + 1), set[int]()
    for done in range(1, FIRST + 8 * TURN.steps):
        rounds.next_step(done)
        arms.append(recorder.tape.arm) if done >= FIRST else None
        waited.add(recorder.wait_at)

    counted = [step for step, arm in enumerate(arms) if arm != NOT_COUNTED]
    begins = {step - 1 for step in counted if step - 1 not in counted}
    ends = {step for step in counted if step + 1 not in counted}
    assert len(begins) == len(ends) == 8
    assert waited - {0} == begins | ends
