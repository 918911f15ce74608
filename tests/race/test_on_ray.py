"""Races on a Ray cluster: several real nodes on this machine, whose trainings are formulas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from hotlap.errors import HotlapError
from hotlap.lab import Lab
from hotlap.logbook import Logbook
from hotlap.race.on_ray import _same
from hotlap.race.race import Wish, race
from hotlap.race.result import RaceResult
from hotlap.race.rules import RULES
from hotlap.race.study import open_storage
from hotlap.race.trainings import Trainings
from hotlap.records import AS_WRITTEN, Recording, Trial
from hotlap.target import Target
from hotlap.trials.cluster import RayCluster
from hotlap.trials.launch import Tier
from hotlap.trials.nodes import connected
from hotlap.trials.place import Work
from race.stub_place import DIES, WAITS, StubPlace

pytest.importorskip("ray")
pytest.importorskip("optuna")
pytestmark = pytest.mark.slow  # a cluster takes half a minute to start, and its nodes share the cores
TESTS = Path(__file__).parent.parent
WISH = Wish(only=("adamw", "nesterov", "muon"))
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes; the fourth organises them and has no cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own and its packages'
            from ray.cluster_utils import Cluster

            head = {**NODE, "num_cpus": 0, "include_dashboard": False}
            started = Cluster(True, head_node_args=head)
            try:
                for _ in range(3):
                    started.add_node(**NODE)
                yield started
            finally:
                started.shutdown()


@contextmanager
def occupied(cluster: Any, folder: Path) -> Generator[RayCluster]:
    """Places at all of its nodes."""
    target = Target((sys.executable, "train.py"), None, ("train.py",), sys.executable, folder)
    with connected(cluster.address) as ray:
        found = RayCluster(ray, Work(target, "", folder, Tier.NONE, 60.0), place=StubPlace)
        try:
            found.occupy()
            yield found
        finally:
            found.stop()


def raced(cluster: Any, folder: Path, known: list[Recording] | None = None) -> RaceResult:
    """A race from top to bottom."""
    folder.mkdir(exist_ok=True)
    book = Logbook(folder / "logbook.jsonl")
    book.start("train.py", "", 1, "test")
    with occupied(cluster, folder) as places:
        lab = Lab(places, book, 1e9, 1, known=known or [], cluster=places)
        return race(Trainings(lab, WISH.metric), WISH, open_storage(None))


def trial(number: int, **options: str | int) -> Trial:
    return Trial(f"{number:04d}-race", "race", AS_WRITTEN, number, 0, 8, 60.0, options)


def recordings(folder: Path) -> list[Recording]:
    import msgspec

    events = Logbook(folder / "logbook.jsonl").events()
    return [msgspec.convert(event["recording"], Recording) for event in events if event["kind"] == "recording"]


def test_a_race_on_three_nodes(cluster: Any, tmp_path: Path) -> None:
    """The planted rule wins; a seed's finals stand on one node; and whoever comes first changes nothing."""
    result, again = raced(cluster, tmp_path / "one"), raced(cluster, tmp_path / "two")

    assert result.winner == RULES["muon"].words
    assert result.speedup_vs_tuned_incumbent is not None
    assert result.speedup_vs_tuned_incumbent.proven
    assert again.finalists == result.finalists
    assert again.screened == result.screened
    nodes: dict[int, set[str]] = {}
    for record in recordings(tmp_path / "one"):
        if 1300 < record.trial.seed < 1400:
            nodes.setdefault(record.trial.seed, set()).add(record.log)
    assert len(nodes) == 8
    assert all(len(one) == 1 for one in nodes.values())
    assert len(set.union(*nodes.values())) == 3


def test_it_goes_on_from_its_recordings(cluster: Any, tmp_path: Path) -> None:
    """A seed of the finals that is not there whole is run anew, whole; all else is not run again."""
    result = raced(cluster, tmp_path / "one")
    known = recordings(tmp_path / "one")
    torn = [record for record in known if record.trial.seed == 1305]
    again = raced(cluster, tmp_path / "two", [record for record in known if record is not torn[0]])

    assert [one.runs[0].steps for one in again.finalists] == [one.runs[0].steps for one in result.finalists]
    run_again = recordings(tmp_path / "two")
    assert {record.trial.seed for record in run_again} == {1305}
    assert len(run_again) == len(torn)


def test_a_trial_whose_node_is_lost_is_run_again(cluster: Any, tmp_path: Path) -> None:
    """With those that stand beside it, at another place; the others never notice."""
    node, go = cluster.add_node(**NODE), tmp_path / "go"
    waiting = [[trial(10 * n), trial(10 * n + 1, **{WAITS: str(go)})] for n in range(1, 5)]

    def lose() -> None:
        while len(list(tmp_path.glob("go.*"))) < 4:
            time.sleep(0.05)
        cluster.remove_node(node)  # by a signal: one that is just gone is missed by Ray after up to a minute
        go.touch()

    with occupied(cluster, tmp_path) as places:
        assert places.places == 4
        said: list[str] = []
        places.learnt = said.append
        losing = Thread(target=lose)
        losing.start()
        ended = dict(places.groups(waiting, lambda one: one, None))
        losing.join()
        while not said:  # Ray tells late which node it was
            places._take_back()
            time.sleep(0.05)
        assert places.places == 3
    assert "is lost" in said[0]
    assert {number: [r.trial.id for r in records] for number, records in ended.items()} == {
        number: [one.id for one in group] for number, group in enumerate(waiting)
    }
    assert all(len({record.log for record in records}) == 1 for records in ended.values())


@pytest.mark.parametrize("times", [2, 9])
def test_a_trial_is_run_again_twice_and_no_more(cluster: Any, tmp_path: Path, times: int) -> None:
    doomed = trial(1, **{DIES: str(tmp_path / "died"), "times": times})
    with occupied(cluster, tmp_path) as places:
        if times == 2:
            assert places.run(doomed).trial == doomed
        else:
            with pytest.raises(HotlapError, match="was lost 3 times") as raised:
                places.run(doomed)
            assert raised.value.slug == "node-lost"
    assert (tmp_path / "died").stat().st_size == 3


def test_an_interruption_ends_what_is_under_way(cluster: Any, tmp_path: Path) -> None:
    """Every place is told to end its trial and come back when nobody is left of it."""
    begun: list[Trial] = []

    def begin(one: Trial) -> Trial:
        begun.append(one)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return one

    with occupied(cluster, tmp_path) as places:
        with pytest.raises(KeyboardInterrupt):
            list(places.groups([[trial(n, **{WAITS: str(tmp_path / "never")})] for n in (1, 2, 3)], begin, None))
        assert places.places == 0
    assert len(list(tmp_path.glob("stopped-*"))) == 3


def test_no_group_is_begun_when_the_time_is_up(cluster: Any, tmp_path: Path) -> None:
    with occupied(cluster, tmp_path) as places:
        ended = dict(places.groups([[trial(1)], [trial(2)]], lambda one: one if one.seed == 1 else None, None))

    assert list(ended) == [0]


def test_what_others_hold_is_left_to_them(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotlap.trials.cluster._ROOM_S", 8.0)
    with occupied(cluster, tmp_path) as first:
        other = RayCluster(first.ray, first.work, place=StubPlace)
        with pytest.raises(HotlapError, match="No node of the Ray cluster has room") as raised:
            other.occupy()

    assert raised.value.slug == "bad-cluster"


def test_a_race_goes_on_where_it_was_begun(tmp_path: Path) -> None:
    """Times of other machines are no half of a comparison."""
    book = Logbook(tmp_path / "logbook.jsonl")
    book.start("train.py", "", 1, "test")
    book.append("cluster", node={"torch": "2.13.0"}, places=3, left_out=[])
    lab: Any = type("", (), {"known": [0], "logbook": book})()

    _same(lab, {"torch": "2.13.0"})
    for kind in ({}, {"torch": "2.11.0"}):
        with pytest.raises(HotlapError) as raised:
            _same(lab, kind)
        assert raised.value.slug == "resume-mismatch"
    _same(replace_known(lab), {})


def replace_known(lab: Any) -> Any:
    lab.known = []
    return lab


# -- real trainings

SCRIPT = """
import argparse, time, torch
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--pause", type=float, default=0.0)
args = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Linear(8, 1, bias=False)
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
for step in range(192):
    x = torch.randn(64, 8)
    loss = (model(x) - x.sum(1, keepdim=True)).square().mean() + 0.01 * torch.rand(())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    time.sleep(args.pause)
"""


def command(cluster: Any, folder: Path, *flags: str) -> list[str]:
    (folder / "train.py").write_text(SCRIPT)
    return [sys.executable, "-m", "hotlap", "race", "--json", "--budget", "quick", "--ray", cluster.address, *flags]


def test_a_race_of_a_real_script(cluster: Any, tmp_path: Path) -> None:
    """A full answer; the document alone on stdout; and trials of more than one node."""
    started = command(cluster, tmp_path, "--arm", "--lr 0.2", "train.py")
    done = subprocess.run(started, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)

    assert document["leader"] == "--lr 0.2"
    assert [len(arm["runs"]) for arm in document["arms"]] == [3, 3, 3]  # as written, tuned, and the variant
    assert "at 3 places of a Ray cluster" in done.stderr
    kinds = [event["kind"] for event in Logbook(tmp_path / ".hotlap/train/race/logbook.jsonl").events()]
    assert kinds.count("recording") > 3 * 3  # and what tunes the rule of the script itself
    assert kinds.count("cluster") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_training_behind(cluster: Any, tmp_path: Path, number: int) -> None:
    """And the places are free for the next race."""
    started = command(cluster, tmp_path, "train.py", "--pause", "0.2", f"--lr=0.0{os.getpid()}{int(number)}")
    hotlap = subprocess.Popen(started, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    trial = tmp_path / ".hotlap/train/race/trials/0002-race"
    try:
        deadline = time.monotonic() + 240
        while not list(trial.glob("*.jsonl")) and hotlap.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert trainings(started[-1])
        hotlap.send_signal(number)
        _, said = hotlap.communicate(timeout=60)
    finally:
        hotlap.kill()

    assert hotlap.returncode == 130, said
    assert "--resume" in said
    assert not trainings(started[-1])


def trainings(mark: str) -> list[int]:
    """Processes of the script; hotlap's own has the mark as well."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if mark in (process.info["cmdline"] or ()) and "hotlap" not in process.info["cmdline"]
    ]
