"""Switches between setups while the script trains, at the ends of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotlap.knobs import knob_by_id
from hotlap.rounds import NOT_COUNTED, Turn, schedule

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class Interleaver:
    """Turns each setup's settings on and off again, in rounds.

    What a switch takes is between two steps and in none; what follows from it in the next step is not counted. A device
    runs behind the host, so the counted steps begin when it has done the others', and end when it has done theirs.
    """

    def __init__(self, host: Host, recorder: Recorder) -> None:
        task = host.task
        options = task["options"]
        self._host = host
        self._recorder = recorder
        self._arms: list[list[list[Any]]] = task["arms"]
        self._first = options["first"]
        self._turn = Turn(options["settle"], options["keep"])
        self._schedule = schedule(len(self._arms), self._turn, task["seed"])
        self._on: int | None = None
        self._changes: Host | None = None

    def install(self) -> None:
        """Take turns from the first step on that is not warm-up."""
        self._recorder.on_end.append(self.next_step)

    def next_step(self, done: int) -> None:
        """A step is done; the next one runs under the setup whose turn it is."""
        if done < self._first:
            return
        place, counted = next(self._schedule)
        if place != self._on:
            self._switch(place)
        self._recorder.tape.arm = place + 1 if counted else NOT_COUNTED
        if (done - self._first + 1) % self._turn.steps in (0, self._turn.settle):
            self._recorder.wait_at = done + 1

    def _switch(self, place: int) -> None:
        if self._changes is not None:
            self._changes.undo()
        self._on = place
        self._changes = self._host.apart()
        for knob_id, value in self._arms[place]:
            try:
                knob_by_id(knob_id).install(value, self._changes)
            except Exception as error:
                self._host.failed(knob_id, f"{type(error).__name__}: {error}")
