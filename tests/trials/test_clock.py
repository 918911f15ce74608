"""The clock: all time belongs to one phase, and an evaluation is known by where it led."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.trials.clock import TRAINING, Clock, Spent


class Time:
    """A clock's hands, moved by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def made() -> tuple[Clock, Time]:
    time = Time()
    return Clock(time), time


def train(clock: Clock, time: Time, seconds: float = 1.0) -> None:
    """Forward, loss, backward and update, each of so many seconds."""
    for phase in TRAINING:
        clock.enter(phase)
        time.passes(seconds)
        clock.leave(phase)
        time.passes(seconds)


def fetch(clock: Clock, time: Time, source: int, seconds: float = 1.0) -> None:
    clock.enter_data("data", source)
    time.passes(seconds)
    clock.leave("data")


def ask(clock: Clock, time: Time, kind: str, seconds: float = 1.0) -> None:
    clock.enter_aside(kind)
    time.passes(seconds)
    clock.leave("aside")


def positive(spent: dict[str, float]) -> dict[str, float]:
    return {phase: seconds for phase, seconds in spent.items() if seconds}


EVENTS = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(TRAINING)),
    st.tuples(st.just("enter_aside"), st.sampled_from(["evaluation", "helper", "doubt"])),
    st.tuples(st.just("leave"), st.sampled_from([*TRAINING, "aside", "data", "epoch start"])),
    st.tuples(st.just("enter_data"), st.sampled_from(["data", "epoch start"]), st.integers(0, 3)),
    st.tuples(st.just("end_step")),
    st.tuples(st.just("pass"), st.integers(0, 8)),
)


@given(st.lists(EVENTS, max_size=60))
def test_any_sequence_conserves_time(events: list[tuple[object, ...]]) -> None:
    """Phases, evaluation and helpers are all of the time, and none of them is negative."""
    clock, time = made()
    spent: list[Spent] = []
    for name, *args in events:
        if name == "pass":
            time.passes(float(args[0]) / 8)  # exact in binary, so that sums are
        elif name == "end_step":
            spent.append(clock.end_step())
            clock.restart()
        else:
            getattr(clock, str(name))(*args)
    spent.append(clock.end_step())

    every = [seconds for one in spent for kind in one for seconds in kind.values()]
    assert sum(every) == time.now
    assert all(seconds >= 0 for seconds in every)


def test_what_the_recorder_does_itself_counts_for_nobody() -> None:
    """Between the end of a step and the restart."""
    clock, time = made()
    train(clock, time)
    assert sum(clock.end_step().step.values()) == 6
    time.passes(100)
    clock.restart()
    train(clock, time)

    assert sum(clock.end_step().step.values()) == 6


def test_phases_of_a_plain_step() -> None:
    """Between forward and backward it is the loss's time, after that nobody's."""
    clock, time = made()
    fetch(clock, time, 1, 5)
    train(clock, time)

    assert clock.end_step() == Spent(
        {"data": 5, "forward": 1, "loss": 1, "backward": 1, "optimizer": 1, "other": 2}, {}, {}
    )


def test_a_closure_inside_the_update() -> None:
    """Forward and backward keep their time; the optimizer has the rest."""
    clock, time = made()
    clock.enter("optimizer")
    time.passes(1)
    for _ in range(3):
        clock.enter("forward")
        time.passes(2)
        clock.leave("forward")
        clock.enter("backward")
        time.passes(4)
        clock.leave("backward")
    clock.leave("optimizer")

    assert positive(clock.end_step().step) == {"optimizer": 1, "forward": 6, "backward": 12}


def test_an_evaluation_is_found_in_hindsight() -> None:
    """Its data, its forward and what came before it since the last step are none of the next step's."""
    clock, time = made()
    fetch(clock, time, 1)
    train(clock, time)
    clock.end_step()
    clock.restart()
    time.passes(1)  # model.eval()
    for _ in range(2):
        fetch(clock, time, 2, 10)
        ask(clock, time, "evaluation", 20)
    time.passes(3)  # printing the accuracy
    fetch(clock, time, 1, 0.5)
    train(clock, time)
    spent = clock.end_step()

    assert sum(spent.evaluation.values()) == 64
    assert sum(spent.step.values()) == 6.5
    assert clock.evaluations == 1


def test_a_helper_keeps_its_phases() -> None:
    """A target network that is asked in every step: only the whole run shows that it is part of the step."""
    clock, time = made()
    fetch(clock, time, 1, 5)
    ask(clock, time, "helper", 2)
    train(clock, time)
    spent = clock.end_step()

    assert positive(spent.helper) == {"data": 5, "forward": 2}
    assert spent.evaluation == {}
    assert clock.evaluations == 0


@pytest.mark.parametrize(("learns", "evaluation"), [(True, 0), (False, 3)])
def test_a_call_in_evaluation_mode_with_gradients(learns: bool, evaluation: float) -> None:
    """It is an evaluation that forgot `no_grad`, unless a backward follows."""
    clock, time = made()
    train(clock, time)
    clock.end_step()
    clock.restart()
    ask(clock, time, "doubt", 3)
    if learns:
        clock.enter("backward")
        clock.leave("backward")
    train(clock, time)

    assert sum(clock.end_step().evaluation.values()) == evaluation
    assert clock.evaluations == (not learns)


def test_phases_that_exceptions_left_open() -> None:
    """Leaving the outer one leaves the inner ones too; leaving one that never began does nothing."""
    clock, time = made()
    clock.enter("optimizer")
    clock.enter("forward")
    time.passes(1)
    clock.leave("optimizer")
    clock.leave("aside")
    time.passes(2)

    assert positive(clock.end_step().step) == {"other": 2, "forward": 1}


def test_what_a_training_phase_took_is_the_steps() -> None:
    """An evaluation right after a backward that ended no step (gradients are accumulated) takes none of its time."""
    clock, time = made()
    for phase in ("forward", "backward"):
        clock.enter(phase)
        time.passes(2)
        clock.leave(phase)
    fetch(clock, time, 2, 10)
    ask(clock, time, "evaluation", 20)
    train(clock, time)
    spent = clock.end_step()

    assert sum(spent.evaluation.values()) == 30
    assert sum(spent.step.values()) == 10


def test_a_copy_is_its_own_phase_wherever_it_happens() -> None:
    """In a forward, in what is neither, and in an evaluation."""
    clock, time = made()
    clock.enter("forward")
    for _ in range(2):
        clock.enter_copy()
        time.passes(3)
        clock.leave("copy")
        clock.leave("forward")
    train(clock, time)
    clock.enter_copy()
    time.passes(5)
    clock.leave("copy")
    ask(clock, time, "evaluation", 20)
    clock.enter("backward")
    clock.leave("backward")
    spent = clock.end_step()

    assert spent.step["copy"] == 6
    assert spent.evaluation == {"other": 1, "copy": 5, "forward": 20}
