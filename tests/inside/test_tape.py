"""The tape: what is marked, in which thread, and where a device is meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hotlap import marks
from hotlap.inside import copies
from hotlap.inside.device import SampledTape
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.inside.tape import Tape
from hotlap.trials.replay import Replay

TIME, NUMBER = st.integers(0, 2**59 - 1), st.integers(-(2**63), 2**63 - 1)
SHORT = st.tuples(TIME, st.integers(0, marks.FETCH - 1), st.just(0), st.just(0))
LONG = st.tuples(TIME, st.integers(marks.FETCH, marks.RESUME), NUMBER, NUMBER)


@pytest.fixture
def host() -> Iterator[Host]:
    one = Host(Journal(None), {"purpose": "time"})
    yield one
    one.undo()


def what(tape: Tape) -> list[int]:
    return [mark[1] for mark in marks.read(tape.take())]


@given(st.lists(st.one_of(SHORT, LONG)))
def test_marks_are_read_as_they_were_written(some: list[tuple[int, int, int, int]]) -> None:
    """Short ones and long ones in any order, and none at all."""
    numbers: list[int] = []
    for at, what, which, more in some:
        numbers += (at << 4 | what, which, more) if what >= marks.FETCH else (at << 4 | what,)

    assert list(marks.read(marks.text(numbers))) == some


def test_other_threads_are_ignored() -> None:
    """A prefetching thread reads a loader: its time is not the step's."""
    tape = Tape()
    reader = threading.Thread(target=lambda: (tape.mark(marks.BACKWARD), tape.mark(marks.FETCHED)))
    reader.start()
    reader.join()
    tape.mark(marks.BACKWARD)

    assert what(tape) == [marks.BACKWARD]


@pytest.mark.parametrize("args", [(torch.zeros(5, 2),), ([torch.zeros(()), torch.zeros(5, 3)],)])
def test_a_call(args: tuple[Any, ...]) -> None:
    """With its samples: the rows of the first tensor that has any."""
    tape, model = Tape(), nn.Identity()
    timed = tape.wrap(model, lambda *args: tape.inside)

    assert timed(*args) == 1
    assert tape.inside == 0
    (_, _, _, call), _ = marks.read(tape.take())
    assert marks.about(call) == (5, True, True)


def test_copies_to_a_device(host: Host) -> None:
    """Copies from the host and nothing else, and the tensors are as they would be."""
    tape = Tape()
    copies.watch(host, tape)
    there = torch.zeros(3).to("meta")
    there.to(torch.float64)
    torch.zeros(3).to("cpu")
    torch.zeros(3).to(torch.float64)

    assert there.device.type == "meta"
    assert what(tape) == [marks.COPY, marks.COPIED]
    host.undo()
    torch.zeros(3).to("meta")
    assert what(tape) == []


class Event:
    """A device that takes one millisecond from each event to the next, and has got no further than `reached`."""

    made = count()
    reached = 10**9

    def record(self) -> None:
        self.number = next(self.made)

    def query(self) -> bool:
        return self.number <= Event.reached

    def elapsed_time(self, later: Event) -> float:
        return float(later.number - self.number)


def train(tape: Tape, steps: int) -> None:
    for _ in range(steps):
        tape.note_long((marks.FETCH, 1, 0))
        for mark in (marks.FETCHED, marks.BACKWARD, marks.BACKWARD_END, marks.UPDATE, marks.UPDATE_END):
            tape.mark(mark)
        tape.note_long((marks.STEP, 0, 0))
        tape.note_long((tape.now() << 4 | marks.RESUME, 0, 0))


def test_one_step_of_sixteen_at_the_devices_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Played back like the host's own: each phase took the device a millisecond."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    tape, replay = SampledTape(Event), Replay()
    train(tape, 40)
    replay.play(tape.take_sampled())

    assert [row.number for row in replay.rows] == [16, 32]
    for row in replay.rows:
        assert {phase: spent for phase, spent in row.spent.step.items() if spent} == {
            "data": 1e6, "backward": 1e6, "optimizer": 1e6, "other": 4e6,
        }  # fmt: skip
    assert tape.take_sampled() == ""


def test_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that the device has not finished is taken later."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(Event, "reached", -1)
    tape = SampledTape(Event)
    train(tape, 20)
    assert tape.take_sampled() == ""
    monkeypatch.setattr(Event, "reached", 10**9)

    assert tape.take_sampled()


def test_a_cpu_training_on_a_machine_with_a_device() -> None:
    """Nothing initialised CUDA, so no event is made."""
    tape = SampledTape(Event)
    train(tape, 40)

    assert tape.take_sampled() == ""
