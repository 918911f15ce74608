"""Workers behind a loader without any: what is said where they cannot serve. What they serve is in safety/."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hotlap.inside.host import Host
from hotlap.loader.compare import difference
from hotlap.loader.moved import MovedFetch


class Rows(Dataset[Any]):
    """Rows that Python makes, and a number that the script may change."""

    def __init__(self) -> None:
        self.add = 0

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((3,), index + self.add)


def epochs(rows: Rows, disturb: Any) -> list[Any]:
    """Two epochs, disturbed after the third batch of each."""
    batches, loader = list[Any](), DataLoader(rows, batch_size=4)
    for _ in range(2):
        iterator = iter(loader)
        for number in range(6):
            batches.append(next(iterator))
            if number == 2:
                disturb(rows, iterator)
    return batches


def kill(rows: Rows, iterator: Any) -> None:
    """A worker, as lack of memory does."""
    inner = getattr(iterator, "_inner", None)
    for worker in [] if inner is None else inner._workers:
        os.kill(worker.pid, signal.SIGKILL)


def change(rows: Rows, iterator: Any) -> None:
    """What the next batch is made of."""
    rows.add += 100


@pytest.mark.parametrize(
    ("disturb", "reason"), [(kill, "a worker process is gone"), (change, "the script changed what is fetched")]
)
def test_what_the_script_fetches_itself_is_said_once(
    disturb: Any, reason: str, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the reason (S40); the batches are those of the script without workers."""
    expected = epochs(Rows(), disturb)
    MovedFetch(host, "loader-workers", 1).install()

    assert difference(expected, epochs(Rows(), disturb)) == ""
    said = capsys.readouterr().err
    assert said.count("loader-workers: the rest of the epoch is fetched without workers, because ") == 1
    assert reason in said


def test_serves_beside_cuda(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The states of a device's generators are the script's own: a forked process can neither read nor set them."""
    here, expected = os.getpid(), epochs(Rows(), lambda *_: None)

    def states() -> list[torch.Tensor]:
        assert os.getpid() == here
        return [torch.zeros(16, dtype=torch.uint8)]

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: os.getpid() == here)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", states)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda _: states())
    MovedFetch(host, "loader-workers", 1).install()

    assert difference(expected, epochs(Rows(), lambda *_: None)) == ""
    assert capsys.readouterr().err == ""


def test_a_larger_batch_is_compared(host: Host) -> None:
    """It may be computed in more threads in the script's process (S8)."""
    from hotlap.loader.moved import _Record

    record, due = _Record(), []
    for size in (8, 8, 8, 4, 9, 9):
        record.served += 1
        due.append(record.due(size))

    assert due == [True, True, False, False, True, False]
