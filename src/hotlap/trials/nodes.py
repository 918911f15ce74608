"""The nodes of a Ray cluster: how it is reached, where on it a trial can run, and which of its nodes are alike."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotlap.errors import HotlapError
from hotlap.packages import optional
from hotlap.trials.place import Looked


@contextmanager
def connected(address: str) -> Generator[Any]:
    """Ray, connected to a cluster.

    Args:
        address: HOST:PORT; "auto" for the cluster that this machine belongs to, "local" for one of this machine alone
            that ends with the block.

    Raises:
        HotlapError: Ray is missing, or there is no such cluster.
    """
    ray = optional("ray")
    if "://" in address:
        what = f"--ray {address} names a Ray client's server, and the files of a race are not sent over one."
        raise HotlapError("bad-cluster", what, fix="start hotlap on a node of the cluster, with --ray auto")
    terminate, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nobody is told of a cluster that hotlap starts
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=None)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        fix = "start one with `ray start --head`, name one as HOST:PORT, or use this machine alone with --ray local"
        raise HotlapError("bad-cluster", f"No Ray cluster was reached at {address}: {said}.", fix=fix) from None
    finally:
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGTERM, terminate)  # Ray puts one of its own in place, which would skip the clean end
    try:
        # What a raylet says of its end would stand in the document on stdout; what matters of it, hotlap tells.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield ray
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, terminate)


@dataclass(frozen=True, eq=False)
class Spot:
    """Where one trial at a time can run."""

    node: str
    """Ray's id of it."""
    name: str
    """For people."""
    cpus: float
    gpus: int


def spots(nodes: Sequence[Mapping[str, Any]]) -> list[Spot]:
    """Every GPU with its share of the cores; where there is none, every node with all of its cores.

    Args:
        nodes: As `ray.nodes()` tells of them. One with no cores is there to organise the others.
    """
    alive = [node for node in nodes if node["Alive"]]
    any_gpu = any(node["Resources"].get("GPU", 0) >= 1 for node in alive)
    found: list[Spot] = []
    for node in sorted(alive, key=lambda node: (node["NodeManagerAddress"], node["NodeID"])):
        cpus, gpus = float(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0))
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:8]})"
        if any_gpu:
            found += [Spot(node["NodeID"], name, cpus // gpus, 1) for _ in range(gpus)]
        elif cpus:
            found.append(Spot(node["NodeID"], name, cpus, 0))
    return found


def alike(looked: Sequence[tuple[Spot, Looked]], own: str) -> tuple[list[Spot], list[str]]:
    """The places of the most common kind, and a sentence on each node that is of another.

    A race compares times, so what decides the time of a step must be the same wherever it runs: fewer nodes give the
    right answer later, unlike ones a wrong one.

    Args:
        looked: What every place is like.
        own: The node that hotlap runs on; its kind decides where two are as common.

    Raises:
        HotlapError: A node lacks what trials need.
    """
    for spot, seen in looked:
        if seen.lacks:
            fix = (
                "give every node the same files at the same paths and the same packages, or take it out of the cluster"
            )
            raise HotlapError("bad-cluster", f"On {spot.name}, {seen.lacks}.", fix=fix)
    count = Counter(seen.kind for _, seen in looked)
    at_home = {seen.kind for spot, seen in looked if spot.node == own}
    kind = max(count, key=lambda one: (count[one], one in at_home))
    out: dict[str, str] = {}
    for spot, seen in looked:
        differs = [f"{name} is {a}, not {b}" for (name, a), (_, b) in zip(seen.kind, kind) if a != b]
        if differs:
            out[spot.node] = f"{spot.name} is not used, since times there do not compare: {', '.join(differs)}"
    return [spot for spot, seen in looked if seen.kind == kind], list(out.values())
