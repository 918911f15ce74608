"""Runs a scenario as written and under a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path as File
from typing import Any

import pytest
import torch
from inside.conftest import Place

from hotlap.inside.host import Host
from hotlap.loader import cached
from hotlap.loader.worker_pool import WorkerPool
from loader.safety.paths import PATHS, Path, observed

Same = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=PATHS, ids=str)
def path(request: pytest.FixtureRequest) -> Path:
    """Each fetch path in turn; a line that it cannot hold is skipped with the reason."""
    chosen: Path = request.param
    line = request.node.originalname.upper().removeprefix("TEST_")
    for name, reason in chosen.not_held:
        if line.startswith(name):
            pytest.skip(f"not held: {reason}")
    return chosen


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A pool of two threads, whatever the machine has, and the one of before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _cheap_samples_are_cached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the scenarios have them; what is not worth it is still to be right."""
    monkeypatch.setattr(cached, "_WORTH", 0.0)


@pytest.fixture(autouse=True)
def _kept_workers_serve_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios have two epochs, and new workers would serve the second one."""
    monkeypatch.setattr(WorkerPool, "proves", False)


_known: dict[str, Any] = {}
"""What a test gave as written, and the facts of its observed run: they are the same for every path."""


@pytest.fixture
def same(
    path: Path, host: Host, tmp_path: File, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Same:
    """A scenario gives the same with the path as without it; returns what it gave."""
    key = f"{request.node.path}:{request.node.name.replace(str(path), '')}"

    def check(scenario: Callable[[], Any]) -> Any:
        if key not in _known:
            _known[key] = scenario()
        if path.knob:
            if key + "facts" not in _known:
                monkeypatch.setenv("HOTLAP_JOURNAL", str(tmp_path))
                _known[key + "facts"] = observed(scenario, tmp_path)
                monkeypatch.delenv("HOTLAP_JOURNAL")
            path.install(host, _known[key + "facts"])
        assert scenario() == _known[key]
        return _known[key]

    return check


@pytest.fixture
def place(tmp_path: File) -> Place:
    """A folder to run whole scripts in."""
    return Place(tmp_path)
