"""A race on a Ray cluster instead of on this machine."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from hotlap.errors import HotlapError
from hotlap.lab import Lab
from hotlap.trials.cluster import RayCluster
from hotlap.trials.nodes import connected
from hotlap.trials.place import Work
from hotlap.trials.runner import ProcessRunner


@contextmanager
def on_cluster(lab: Lab, address: str | None) -> Generator[None]:
    """Let a lab's trials run on a Ray cluster within the block; with no address they stay here.

    Only this process writes the logbook.

    Args:
        lab: Whose runner is one of processes here.
        address: See `nodes.connected`.

    Raises:
        HotlapError: There is no such cluster, a node lacks something, or the race was begun on other machines.
    """
    if address is None:
        _same(lab, {})
        yield
        return
    here = lab.runner
    assert isinstance(here, ProcessRunner)
    with connected(address) as ray:
        work = Work(here.target, here.target.sha256, here.out.resolve(), here.tier, here.startup_s)
        cluster = RayCluster(ray, work, lab.learnt)
        try:
            cluster.occupy()
            _same(lab, cluster.kind)
            lab.logbook.append("cluster", node=cluster.kind, places=cluster.places, left_out=cluster.left_out)
            lab.notes += cluster.left_out
            for text in cluster.left_out:
                lab.learnt(text)
            lab.learnt(f"trials run at {cluster.places} places of a Ray cluster, one at a time at each")
            lab.runner = lab.cluster = cluster
            yield
        finally:
            cluster.stop()


def _same(lab: Lab, kind: dict[str, str]) -> None:
    """Times that were taken on other machines are no half of a comparison."""
    if not lab.known:
        return
    clusters = [event["node"] for event in lab.logbook.events() if event["kind"] == "cluster"]
    then = clusters[-1] if clusters else {}
    if then == kind:
        return
    differs = [f"{name} was {then.get(name, 'unknown')}" for name in kind if then.get(name) != kind[name]]
    where = f"on other nodes ({', '.join(differs)})" if then and kind else "on a cluster" if then else "on one machine"
    raise HotlapError(
        "resume-mismatch",
        f"The race was begun {where}, and times there do not compare with those here.",
        fix="go on where it was begun, or race again without --resume",
    )
