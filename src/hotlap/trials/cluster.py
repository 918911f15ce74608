"""Trials on a Ray cluster: one at a time at each place, a place being a node or one of its GPUs."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotlap.errors import HotlapError
from hotlap.records import Facts, Recording, Signature, Trial
from hotlap.target import Target
from hotlap.trials.nodes import Spot, alike, spots
from hotlap.trials.place import Looked, Place, Work
from hotlap.trials.runner import RootKey
from hotlap.verify.arms import ArmRecord

_ROOM_S = 60.0  # for an actor to be given its part of the node: whoever holds it for longer keeps it
_LOOK_S = 200.0  # an import of torch, from a cold network file system
_STOP_S = 20.0  # for trials to be ended in order
_TICK_S = 1.0
_AGAIN = 2  # times that a trial is run again whose node was lost

Begin = Callable[[Trial], Trial | None]


@dataclass(eq=False)
class _Seat:
    spot: Spot
    actor: Any
    lost: int = 0


@dataclass(eq=False)
class _Course:
    """A group under way."""

    number: int
    seat: _Seat
    records: list[Recording] = field(default_factory=list)


@dataclass
class _Order:
    """Groups that are asked for."""

    groups: Sequence[Sequence[Trial]]
    begin: Begin
    facts: Facts | None
    waiting: deque[int]
    courses: dict[Any, _Course] = field(default_factory=dict[Any, _Course])
    """By what tells the end of the trial that is under way."""
    lost: Counter[int] = field(default_factory=Counter[int])


def _lost(what: str) -> HotlapError:
    return HotlapError("node-lost", what, fix="look at the nodes with `ray status`, then go on with --resume")


@dataclass
class RayCluster:
    """Trials at the places of a Ray cluster; both a `Runner`, at the first of them, and a `Cluster`.

    An actor stands at each place for as long as the race lasts and claims all of it, so that nothing of Ray's runs
    beside a trial. Which group goes where is decided here and not by Ray.
    """

    ray: Any
    work: Work
    learnt: Callable[[str], None] = lambda text: None
    place: type[Place] = Place
    verified: Mapping[RootKey, Sequence[Signature]] | None = None
    shares: bool = False
    target: Target = field(init=False)
    out: Path = field(init=False)
    kind: dict[str, str] = field(default_factory=dict)
    """What is the same at all places."""
    left_out: list[str] = field(default_factory=list)
    _seats: list[_Seat] = field(default_factory=list[_Seat])
    _returning: dict[Any, _Seat] = field(default_factory=dict[Any, _Seat])
    """Where a process died and another one is on its way, by what tells that it has come."""
    _environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __post_init__(self) -> None:
        """What a `Runner` has."""
        self.target, self.out = self.work.target, self.work.out

    @property
    def places(self) -> int:
        """How many there are now."""
        return len(self._seats)

    def occupy(self) -> None:
        """Look at every node, and stay where trials are to run.

        Raises:
            HotlapError: A node lacks what trials need, or there is no place at all.
        """
        found = [_Seat(spot, self._actor(spot)) for spot in spots(self.ray.nodes())]
        ready = {seat.actor.__ray_ready__.remote(): seat for seat in found}
        came, late = self.ray.wait(list(ready), num_returns=len(ready), timeout=_ROOM_S) if ready else ([], [])
        seats = [ready[ref] for ref in ready if ref in came]
        for seat in (ready[ref] for ref in late):
            self.ray.kill(seat.actor)
            self.left_out.append(f"{seat.spot.name} is not used: others hold it")
        if not seats:
            fix = "wait until it is free, or start nodes that have cores"
            raise HotlapError("bad-cluster", "No node of the Ray cluster has room for a trial.", fix=fix)
        looked = [(spot, seen) for spot, seen in self.look(seats) if self._is_alive(spot)]
        used, left_out = alike(looked, self.ray.get_runtime_context().get_node_id())
        self.left_out += left_out
        for seat in seats:
            if seat.spot in used:
                self._seats.append(seat)
            else:
                self.ray.kill(seat.actor)
        self.kind = next(dict(seen.kind) for spot, seen in looked if spot == used[0])

    def look(self, seats: Sequence[_Seat]) -> list[tuple[Spot, Looked]]:
        """What every place is like."""
        asked = [seat.actor.look.remote() for seat in seats]
        self.ray.wait(asked, num_returns=len(asked), timeout=_LOOK_S)
        return [(seat.spot, self._seen(ref)) for seat, ref in zip(seats, asked)]

    def _seen(self, ref: Any) -> Looked:
        try:
            return self.ray.get(ref, timeout=0)
        except self.ray.exceptions.GetTimeoutError:
            return Looked(f"nothing answered within {_LOOK_S:.0f} s")
        except self.ray.exceptions.RayError as error:
            if "No module named 'hotlap" in str(error):
                return Looked("hotlap is not installed for the Python that runs Ray")
            return Looked((str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip("."))

    def _is_alive(self, spot: Spot) -> bool:
        return any(node["NodeID"] == spot.node and node["Alive"] for node in self.ray.nodes())

    def _actor(self, spot: Spot) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(spot.node, soft=False)
        # Two threads: one for the trial, and one that ends it.
        remote = self.ray.remote(self.place).options(
            num_cpus=spot.cpus, num_gpus=spot.gpus, scheduling_strategy=here, max_concurrency=2
        )
        return remote.remote(self.work, self._environment, on_device=spot.gpus > 0)

    # -- trials

    def run(self, trial: Trial, facts: Facts | None = None) -> Recording:
        """Run one trial to its end at the first place, where all that is compared within a block is timed."""
        ((_, (record,)),) = self.groups([[trial]], lambda trial: trial, facts)
        return record

    def arm(self, trial: Trial) -> ArmRecord:
        """Nothing: a race has no learning check."""
        raise NotImplementedError("a race has no learning check")

    def ceiling(self) -> dict[str, float]:
        """Nothing: a race does not ask."""
        return {}

    def groups(
        self, groups: Sequence[Sequence[Trial]], begin: Begin, facts: Facts | None
    ) -> Iterator[tuple[int, list[Recording]]]:
        """See `Cluster`. A group whose node is lost is run anew, whole, at another place.

        Raises:
            HotlapError: A trial cannot be run, or its node was lost too often.
        """
        order = _Order(groups, begin, facts, deque(range(len(groups))))
        try:
            while order.waiting or order.courses:
                self._take_back()
                self._fill(order)
                for course, answer in self._ended(order):
                    if isinstance(answer, str):
                        self._lose(order, course, answer)
                        continue
                    course.records.append(answer)
                    if len(course.records) == len(groups[course.number]):
                        yield course.number, course.records
                    else:
                        self._start(order, course, begin(groups[course.number][len(course.records)]))
        finally:
            if order.courses:  # an exception is on its way, or nobody wants the rest
                self.stop()

    def _fill(self, order: _Order) -> None:
        """Begin groups where there is a free place."""
        taken = {course.seat for course in order.courses.values()}
        for seat in [seat for seat in self._seats if seat not in taken]:
            if not order.waiting:
                return
            trial = order.begin(order.groups[order.waiting[0]][0])
            if trial is None:
                order.waiting.clear()
                return
            self._start(order, _Course(order.waiting.popleft(), seat), trial)

    def _start(self, order: _Order, course: _Course, trial: Trial | None) -> None:
        order.courses[course.seat.actor.run.remote(trial, order.facts)] = course

    def _ended(self, order: _Order) -> list[tuple[_Course, Recording | str]]:
        """What has ended within a moment, or what became of its node."""
        if not order.courses:
            if self._returning:
                self.ray.wait(list(self._returning), timeout=_TICK_S)
            elif not self._seats and order.waiting:
                raise _lost("No node of the Ray cluster is left.")
            return []
        ended, _ = self.ray.wait(list(order.courses), timeout=_TICK_S)
        return [(order.courses.pop(ref), self._answer(ref)) for ref in ended]

    def _lose(self, order: _Order, course: _Course, why: str) -> None:
        """Let a group be run anew, and see to the place."""
        order.lost[course.number] += 1
        seat, times = course.seat, order.lost[course.number]
        self._seats.remove(seat)
        seat.lost += 1
        if self._is_alive(seat.spot) and seat.lost <= _AGAIN:  # or the node is not missed yet, and it never comes back
            seat.actor = self._actor(seat.spot)
            self._returning[seat.actor.__ray_ready__.remote()] = seat
        else:
            self._tell_lost(seat, why)
        if times > _AGAIN:
            trial = order.groups[course.number][len(course.records)].id
            raise _lost(f"Trial {trial} was lost {times} times, the last time on {seat.spot.name}: {why}.")
        order.waiting.appendleft(course.number)

    def _take_back(self) -> None:
        """Use the places again where somebody new stands."""
        if not self._returning:
            return
        ready, _ = self.ray.wait(list(self._returning), num_returns=len(self._returning), timeout=0)
        for ref in ready:
            seat, why = self._returning.pop(ref), self._answer(ref)
            if isinstance(why, str):
                self._tell_lost(seat, why)
            else:
                self._seats.append(seat)

    def _tell_lost(self, seat: _Seat, why: str) -> None:
        self.learnt(f"{seat.spot.name} is lost ({why}); places left: {self.places + len(self._returning)}")

    def _answer(self, ref: Any) -> Any:
        """What was answered, or what became of the place."""
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(ref)
        except errors.RayTaskError:  # a fault of hotlap's
            raise
        except errors.RayError as error:
            return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if isinstance(answer, HotlapError):
            raise answer
        return answer

    def stop(self) -> None:
        """End what is under way, so that no training is left on any node; nothing can be run afterwards."""
        seats, self._seats = [*self._seats, *self._returning.values()], []
        self._returning.clear()
        try:
            stopped = [seat.actor.stop.remote() for seat in seats]
            if stopped:
                self.ray.wait(stopped, num_returns=len(stopped), timeout=_STOP_S)
        finally:
            for seat in seats:
                self.ray.kill(seat.actor)
