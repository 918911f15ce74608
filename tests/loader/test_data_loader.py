"""`hotlap.DataLoader` serves what torch's does, and says how; the safety checklist runs on it as on a fetch path."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from inside.conftest import Place
from torch.utils import data

import hotlap
from hotlap.loader import data_loader
from hotlap.loader.compare import difference
from loader import datasets
from loader.datasets import UNDERSTOOD
from loader.safety.samples import Stream, rows
from loader.test_serve import epochs, seeded


@pytest.mark.parametrize("kind", [*UNDERSTOOD, datasets.Augments, datasets.Steady], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("stop", [2, 99], ids=["broken off", "whole"])
def test_same_batches_and_generators(kind: Any, stop: int) -> None:
    """To the bit, for datasets that it serves and for those that it leaves to torch."""
    expected, found = (
        epochs(lambda make=make: make(seeded(kind), 8, shuffle=True), stop)
        for make in (data.DataLoader, hotlap.DataLoader)
    )

    assert difference(expected, found) == ""


def test_whole_batches_serve() -> None:
    """Rows are not fetched one by one."""
    loader = hotlap.DataLoader(datasets.Tuple(), 4)
    iterator = iter(loader)
    list(iterator)

    (path,) = [p for f, p in data_loader._BATCHES._paths.items() if f is iterator._dataset_fetcher]
    assert path.served == 16


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (
            lambda: hotlap.DataLoader(rows(), 4),
            ["TensorDataset is served by whole-batch-fetch.", "loader-workers: nothing against it", "has no workers"],
        ),
        (
            lambda: hotlap.DataLoader(datasets.Augments(), 4),
            ["Augments is served by torch.", "does more than"],
        ),
        (lambda: hotlap.DataLoader(rows(), 4, collate_fn=list), ["served by torch.", "it has a collate_fn of its own"]),
        (lambda: hotlap.DataLoader(rows(), None), ["served by torch.", "it hands over single samples"]),
        (
            lambda: hotlap.DataLoader(rows(), 4, num_workers=2),
            [
                "served by torch.",
                "faster with num_workers=0",
                "virtual-workers: nothing against it",
                "worker-pool: nothing against it",
            ],
        ),
        (
            lambda: hotlap.DataLoader(Stream(3), 2),
            ["Stream is served by torch.", "fetch: its dataset is iterable"],
        ),
        (lambda: hotlap.DataLoader([1, 2], 2), ["list is served by torch.", "not a plain Python method"]),
    ],
)
def test_explains(make: Any, lines: list[str]) -> None:
    """One line for the path that serves, and one for each other with the reason."""
    said = make().explain()

    assert all(line in said for line in lines)
    assert len(said.splitlines()) == (7 if "served by torch" in said else 6)


def test_explains_that_it_has_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a batch came out wrong torch fetches, whatever the dataset would allow."""
    monkeypatch.setattr(data_loader._BATCHES, "_off", True)

    said = hotlap.DataLoader(rows(), 4).explain().splitlines()

    assert said[:2] == [
        "TensorDataset is served by torch.",
        "whole-batch-fetch: a whole batch came out other than row by row",
    ]


def test_explains_for_this_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    """That another one of its class was left to torch is not told of it, nor what no longer holds."""
    left = hotlap.DataLoader(rows(), batch_sampler=[[-1, 0]] * 5)
    list(left)

    assert "counts from the end" in left.explain()
    assert hotlap.DataLoader(rows(), 4).explain().startswith("TensorDataset is served by whole-batch-fetch.")
    assert capsys.readouterr().err.count("TensorDataset") == 1
    list(hotlap.DataLoader(left.dataset, 4))
    assert left.explain().startswith("TensorDataset is served by whole-batch-fetch.")


def test_explaining_fetches_nothing() -> None:
    """It is a question, and a sample may take long or change the dataset."""

    class Counts(datasets.Sized):
        def __getitem__(self, i):
            fetched.append(i)
            return self.x[i]

    fetched: list[int] = []
    assert "sample-cache: nothing against it" in hotlap.DataLoader(Counts(), 4).explain()
    assert not fetched


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's switch leaves all to torch (S40)."""
    monkeypatch.setenv("HOTLAP_OFF", "1")
    loader = hotlap.DataLoader(rows(), 4)

    assert type(iter(loader)._dataset_fetcher).__name__ == "_MapDatasetFetcher"
    assert "HOTLAP_OFF is set" in loader.explain()


def test_is_a_loader_of_torch() -> None:
    """To frameworks, and to pickle."""
    loader = pickle.loads(pickle.dumps(hotlap.DataLoader(rows(), 4, drop_last=True)))

    assert isinstance(loader, data.DataLoader)
    assert (len(loader), loader.batch_size, loader.num_workers) == (5, 4, 0)


def test_a_difference_turns_it_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Should a batch ever differ, the user gets torch's, and it is said without a host."""
    monkeypatch.setattr("hotlap.loader.serve.fetch_path", lambda *_: lambda indices: [torch.zeros(len(indices), 3), 0])
    monkeypatch.setattr(data_loader, "_BATCHES", data_loader.WholeBatches(data_loader._Stderr(), "whole-batch-fetch"))
    dataset = rows()

    x, _ = next(iter(hotlap.DataLoader(dataset, 4)))

    assert torch.equal(x, dataset.tensors[0][:4])
    assert "whole-batch-fetch is left, so torch fetches: a whole batch came out other" in capsys.readouterr().err


def test_hotlap_alone_does_not_import_torch() -> None:
    """The command line starts without it."""
    code = "import sys, hotlap; assert 'torch' not in sys.modules; hotlap.DataLoader; assert 'torch' in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'DataLoaders'"):
        hotlap.DataLoaders  # noqa: B018


def test_under_a_plan(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a host in the process, with its path and with another."""
    monkeypatch.delenv("HOTLAP_JOURNAL", raising=False)
    place = Place(tmp_path)
    place.write(
        """
        import hotlap
        loader = hotlap.DataLoader(TensorDataset(torch.randn(20, 3)), batch_size=4, shuffle=True)
        print([x.tolist() for _ in range(2) for (x,) in loader], loader.explain().splitlines()[0])
        """
    )
    alone = place.run(purpose="run", extra={"HOTLAP_OFF": "1", "PYTHONPATH": ":".join(sys.path)})
    for knob in ("whole-batch-fetch", "fetch-ahead"):
        done = place.run(purpose="run", settings=[[knob, True]])
        assert done.code == 0, done.stderr
        assert done.stdout.replace("whole-batch-fetch", "torch") == alone.stdout
