"""The nodes of a cluster: which are places, which are alike, and what one may lack."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotlap.errors import HotlapError
from hotlap.packages import optional
from hotlap.target import Target
from hotlap.trials.launch import Tier
from hotlap.trials.nodes import Spot, alike, connected, spots
from hotlap.trials.place import Looked, Place, Work

KIND = (("CPU", "A processor"), ("torch", "2.13.0"))
OLDER = (("CPU", "A processor"), ("torch", "2.11.0"))


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    """As Ray tells of it."""
    return {
        "NodeID": name * 8,
        "Alive": alive,
        "NodeManagerAddress": f"10.0.0.{name}",
        "NodeManagerHostname": f"host{name}",
        "Resources": resources,
    }


def told(nodes: list[dict[str, Any]]) -> list[tuple[str, float, int]]:
    return [(spot.node[0], spot.cpus, spot.gpus) for spot in spots(nodes)]


def test_a_node_without_gpus_is_one_place() -> None:
    """With all of its cores; one that has none only organises the others, and one that is gone is none."""
    nodes = [node("2", CPU=8.0), node("1", CPU=4.0), node("3", memory=9.0), node("4", alive=False, CPU=8.0)]

    assert told(nodes) == [("1", 4.0, 0), ("2", 8.0, 0)]


def test_each_gpu_is_a_place_with_its_share_of_the_cores() -> None:
    """And nodes without any are left alone."""
    nodes = [node("1", CPU=32.0), node("2", CPU=9.0, GPU=2.0)]

    assert told(nodes) == [("2", 4.0, 1), ("2", 4.0, 1)]


def spot(name: str) -> Spot:
    return Spot(name, f"host{name}", 4.0, 0)


def test_a_node_with_another_torch_is_not_used() -> None:
    """Where most places are decides, and the others are told with what differs."""
    one, two, three = spot("1"), spot("2"), spot("3")
    used, out = alike([(one, Looked(kind=OLDER)), (two, Looked(kind=KIND)), (three, Looked(kind=KIND))], own="1")

    assert used == [two, three]
    assert out == ["host1 is not used, since times there do not compare: torch is 2.11.0, not 2.13.0"]


def test_where_two_kinds_are_as_common_that_of_this_machine_decides() -> None:
    one, two = spot("1"), spot("2")
    looked = [(one, Looked(kind=KIND)), (two, Looked(kind=OLDER))]

    assert alike(looked, own="1")[0] == [one]
    assert alike(looked, own="2")[0] == [two]


def test_a_node_that_lacks_something_ends_it_with_its_name() -> None:
    with pytest.raises(HotlapError, match="On host2, script") as raised:
        alike([(spot("1"), Looked(kind=KIND)), (spot("2"), Looked("script /a/train.py is not there"))], own="1")

    assert raised.value.slug == "bad-cluster"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A script that is there, and the same everywhere."""
    script = tmp_path / "train.py"
    script.write_text("import torch\n")
    target = Target((sys.executable, str(script)), script, ("train.py",), sys.executable, tmp_path)
    return Work(target, target.sha256, tmp_path, Tier.NONE, 60.0)


def looked(work: Work, monkeypatch: pytest.MonkeyPatch) -> Looked:
    """What a place says of its node."""
    monkeypatch.chdir(work.out.parent)
    monkeypatch.setattr("hotlap.trials.place.os.environ", {})
    return Place(work, {}, on_device=False).look()


def test_what_a_node_lacks(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    target, gone = work.target, work.out / "gone"
    for lacking, said in (
        (replace(work, target=replace(target, cwd=gone)), f"working folder {gone} is not there"),
        (replace(work, target=replace(target, script=gone)), f"script {gone} is not there"),
        (replace(work, target=replace(target, python=str(gone))), f"interpreter {gone} is not there"),
        (replace(work, out=gone), f"hotlap's folder {gone} is not there"),
        (replace(work, sha256="other"), f"{target.script} has another text there"),
        (replace(work, version="0.0"), "and 0.0 here"),
    ):
        assert said in looked(lacking, monkeypatch).lacks


def test_what_decides_the_time_of_a_step_is_told(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an interpreter without torch is told as lacking it."""
    about: dict[str, Any] = {
        "machine": {"cpu": "A processor", "cores": 4, "threads": 8, "quota": None},
        "torch": {"version": "2.13.0", "cuda": "", "devices": []},
        "python": "3.11.7",
    }
    monkeypatch.setattr("hotlap.trials.place.ask", lambda python, module: about)
    kind = dict(looked(work, monkeypatch).kind)
    del about["torch"]
    about["torch_error"] = "No module named 'torch'"

    assert (kind["CPU"], kind["cores"], kind["torch"], kind["GPU"]) == ("A processor", "4", "2.13.0", "none")
    assert kind["sandbox"] == "in place"
    assert "cannot import torch: No module named 'torch'" in looked(work, monkeypatch).lacks


def test_a_place_on_a_gpu_keeps_the_one_that_ray_gave(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else is the environment of the shell in which hotlap was started."""
    environment = {"CUDA_VISIBLE_DEVICES": "5", "OMP_NUM_THREADS": "1"}
    monkeypatch.setattr("hotlap.trials.place.os.environ", environment)
    Place(work, {"HOME": "/home/a", "CUDA_VISIBLE_DEVICES": "0,1"}, on_device=True)

    assert environment == {"HOME": "/home/a", "CUDA_VISIBLE_DEVICES": "5"}


def test_without_ray_it_is_told_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HotlapError, match=r"pip install 'hotlap\[ray\]'") as raised:
        optional("ray")

    assert raised.value.slug == "no-ray"


def test_an_error_comes_whole_from_another_process() -> None:
    error = HotlapError("no-ray", "It is not there.", fix="install it")
    again = pickle.loads(pickle.dumps(error))

    assert (again.slug, again.what, again.fix, str(again)) == (error.slug, error.what, error.fix, str(error))


def test_a_client_s_server_is_no_cluster() -> None:
    pytest.importorskip("ray")
    with pytest.raises(HotlapError, match="Ray client's server") as raised, connected("ray://head:10001"):
        pass

    assert raised.value.slug == "bad-cluster"


def test_where_no_cluster_is_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(HotlapError, match="No Ray cluster was reached at nowhere") as raised, connected("nowhere"):
        pass

    assert raised.value.slug == "bad-cluster"
