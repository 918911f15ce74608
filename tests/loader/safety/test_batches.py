"""S17 to S30: what is in a batch, and whose memory it is."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from loader.safety.conftest import Same
from loader.safety.record import described, history, noted, outcome, seeded
from loader.safety.samples import KINDS, LAYOUTS, ROWS, Computed, Files, Of, Rows, pictures, rows

WORKERS = pytest.mark.parametrize("workers", [0, 2])
DATA = pytest.mark.parametrize("data", [rows, Computed], ids=["rows", "work"])
LOADERS = pytest.mark.parametrize(
    ("data", "workers"), [(rows, 0), (Computed, 0), (rows, 2)], ids=["rows", "work", "rows in workers"]
)
ACCELERATED = torch.accelerator.is_available()
ACCELERATOR = pytest.mark.skipif(not ACCELERATED, reason="there is no accelerator here")


class Kinds(Of):
    """Kinds of samples in turn, each in two batches of two."""

    def __init__(self) -> None:
        self.kinds = list(KINDS.values())
        super().__init__(lambda i: self.kinds[i // 4](i % 4), 4 * len(self.kinds))


@WORKERS
def test_s17_types(workers: int, same: Same) -> None:
    """Whatever a sample may be: the same types, values and errors."""
    same(lambda: history(lambda: DataLoader(Kinds(), 2, num_workers=workers), epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_s17_types_one_by_one(kind: str, same: Same) -> None:
    """The same for a dataset of one kind, which a path may take for granted."""
    same(lambda: history(partial(DataLoader, Of(KINDS[kind], 6), 4), epochs=1))


@pytest.mark.parametrize(
    ("layout", "workers"), [*((layout, 0) for layout in LAYOUTS), ("planes of an image", 2), ("part of a storage", 2)]
)
def test_s18_layouts(layout: str, workers: int, same: Same) -> None:
    """Strides and offsets of samples that are views, the last and smaller batch included."""

    def make() -> DataLoader[Any]:
        return DataLoader(TensorDataset(LAYOUTS[layout](pictures())), 4, num_workers=workers)

    same(lambda: history(make, epochs=1))


@LOADERS
def test_s19_own_memory(data: Any, workers: int, same: Same) -> None:
    """Each tensor has memory of its own, no larger than it is, that can be resized."""

    def sizes(loader: Any, batch: Any) -> Any:
        saved = io.BytesIO()
        torch.save(batch[0], saved)
        return saved.getbuffer().nbytes, outcome(lambda: batch[0].resize_(99).shape)

    same(lambda: history(lambda: DataLoader(data(), 4, num_workers=workers), epochs=1, after=sizes))


@LOADERS
def test_s20_fresh_batches(data: Any, workers: int, same: Same) -> None:
    """What is written into a batch reaches neither the dataset nor another batch."""

    def scenario() -> Any:
        dataset = data()
        loader, seen = DataLoader(dataset, 4, num_workers=workers), []
        for _ in range(2):
            kept = list(loader)
            seen.append(described(kept))
            for batch in kept:
                batch[0].mul_(-1)
            seen.append(described(kept))
        return seen, described(dataset)

    same(scenario)


@WORKERS
@pytest.mark.parametrize("data", [rows, Rows], ids=["tensors", "rows"])
def test_s20_single_samples(data: Any, workers: int, same: Same) -> None:
    """Samples that are not collated are the dataset's own memory, where they are."""

    def scenario() -> Any:
        dataset = data()
        for x, _ in DataLoader(dataset, batch_size=None, num_workers=workers):
            x.add_(1)
        return described(dataset)

    same(scenario)


@DATA
def test_s21_memory_is_not_used_twice(data: Any, same: Same) -> None:
    """As long as somebody holds a batch, or part of it, no other batch lies there."""

    def scenario() -> Any:
        held = [batch[0][1:] for batch in DataLoader(data(), 4)]
        return len({tensor.untyped_storage().data_ptr() for tensor in held}), described(held)

    same(scenario)


ODD_INDICES: dict[str, list[Any]] = {
    "repeated": [3, 3, 3, 1, 1],
    "negative": [-1, 2, -ROWS],
    "numpy": [*np.array([4, 2, 0])],
    "unsigned": [*np.array([4, 2, 0], dtype=np.uint8)],
    "tensors": [torch.tensor(4), torch.tensor(2)],
    "tuples": [(1, 2), (3, 0)],
    "slices": [slice(0, 2), slice(2, 4)],
    "booleans": [True, False],
    "floats": [1.0, 2.0],
    "outside": [1, ROWS],
    "far below": [1, -ROWS - 1],
    "texts": ["a"],
    "lists": [[1, 2], [0, 1]],
    "ellipsis": [..., ...],
}


@DATA
def test_s22_odd_indices(data: Any, same: Same) -> None:
    """Whatever a sampler may serve: the same batch or the same error, and then the batch after it."""
    batches = [part for indices in ODD_INDICES.values() for part in ([1, 0], indices)]
    seen = same(lambda: history(lambda: DataLoader(data(), batch_sampler=batches), epochs=1))

    assert "IndexError" in str(seen)


@WORKERS
def test_s23_unequal_shapes(workers: int, same: Same) -> None:
    """Samples that do not stack are an error with the same text, and the next batch follows."""
    kept = [torch.ones(1 + (i == 5), 2) for i in range(9)]

    class Listed(Rows):
        def __init__(self) -> None:
            self.x = kept

        def __getitem__(self, i):
            return self.x[i]

        def __len__(self) -> int:
            return 9

    same(lambda: history(lambda: DataLoader(Listed(), 3, num_workers=workers), epochs=1))


def listed(samples: list[Any]) -> Any:
    """Tells what it is called with."""
    return type(samples).__name__, [type(sample).__name__ for sample in samples], default_collate(samples)


COLLATES: dict[str, Any] = {
    "own": listed,
    "partial": partial(default_collate),
    "lambda": lambda samples: default_collate(samples),
    "list": list,
}


@pytest.mark.parametrize("name", COLLATES)
def test_s24_own_collation(name: str, same: Same) -> None:
    """A collate_fn is called with the list of samples, whatever it does to them."""
    same(lambda: history(lambda: DataLoader(rows(), 4, collate_fn=COLLATES[name])))


class Overrides(TensorDataset):
    """Known by its base, and yet another."""

    def __getitem__(self, index):
        return tuple(tensor[index] * 2 for tensor in self.tensors)


class Fetches(TensorDataset):
    """Fetches batches in its own way."""

    def __getitems__(self, indices):
        return [(self.tensors[0][i] + 1, i) for i in indices]


def patched() -> Any:
    """An instance whose method was exchanged; stock looks methods up by class."""
    dataset = rows()
    dataset.__getitems__ = lambda indices: [i * 10 for i in indices]  # type: ignore[attr-defined]
    return dataset


SUSPECTS: dict[str, Callable[[], Any]] = {
    "overrides": lambda: Overrides(*rows().tensors),
    "fetches": lambda: Fetches(*rows().tensors),
    "patched": patched,
    "subset of overrides": lambda: Subset(Overrides(*rows().tensors), [5, 3, 1, 2]),
    "subset": lambda: Subset(Subset(rows(), range(3, 15)), [5, 3, 1, 2]),
    "list": lambda: [(i, i / 3) for i in range(9)],
    "tensor": lambda: torch.arange(12).reshape(6, 2),
    "array": lambda: np.arange(12).reshape(6, 2),
}


@pytest.mark.parametrize("name", SUSPECTS)
def test_s25_known_datasets_only(name: str, same: Same) -> None:
    """What looks like a known dataset and is another."""
    same(lambda: history(lambda: DataLoader(SUSPECTS[name](), 3)))


def test_s25_exchanged_on_the_way(same: Same) -> None:
    """A method that is exchanged between two steps, and a tensor."""

    def scenario() -> Any:
        class Mine(Rows):
            def __getitem__(self, i):
                return self.x[i]

        def exchange(loader: Any, batch: Any) -> None:
            loader.dataset.x = loader.dataset.x.double()
            Mine.__getitem__ = lambda self, i: self.x[i] + i  # type: ignore[method-assign]

        return history(lambda: DataLoader(Mine(), 4), epochs=1, after=exchange)

    same(scenario)


@LOADERS
def test_s26_written_between_steps(data: Any, workers: int, same: Same) -> None:
    """Rows that the script overwrites are read when stock reads them."""

    def write(loader: Any, batch: Any) -> None:
        whole = loader.dataset.tensors[0] if hasattr(loader.dataset, "tensors") else loader.dataset.x
        whole.add_(1000)

    same(lambda: history(lambda: DataLoader(data(), 4, num_workers=workers), epochs=1, after=write))


def test_s26_arrays_written_between_steps(same: Same) -> None:
    """The same for an array of numpy, of which nobody can tell that it was written."""

    class Array(Computed):
        def __init__(self) -> None:
            super().__init__()
            self.a = np.arange(ROWS * 2, dtype=np.float32).reshape(ROWS, 2)

        def __getitem__(self, i):
            return self.a[i] * 2, i

    def write(loader: Any, batch: Any) -> None:
        loader.dataset.a += 1000

    same(lambda: history(lambda: DataLoader(Array(), 2), epochs=1, after=write))


def test_s27_files_that_change(same: Same, tmp_path: File) -> None:
    """A file that is written anew or deleted while it is read gives what stock gives."""

    def scenario() -> Any:
        for i in range(ROWS):
            (tmp_path / str(i)).write_bytes(bytes([i] * 4))
        passes = iter(range(99))

        def change(loader: Any, batch: Any) -> None:
            match next(passes):
                case 1:
                    (tmp_path / "9").write_bytes(b"else")
                    (tmp_path / "1").write_bytes(b"more")
                case 2:
                    (tmp_path / "17").unlink()

        return repr(history(lambda: DataLoader(Files(tmp_path), 4), after=change)).replace(str(tmp_path), "folder")

    same(scenario)


def test_s28_decoding(same: Same, tmp_path: File) -> None:
    """Pictures have the pixels of the decoder that the script calls."""
    images = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        images.fromarray(pixels).save(tmp_path / f"{i}.jpg", quality=70)

    def decoded(i: int) -> Any:
        with images.open(tmp_path / f"{i}.jpg") as image:
            return torch.from_numpy(np.asarray(image.convert("RGB")).copy())

    same(lambda: history(lambda: DataLoader(Of(decoded, 8), 4)))


@pytest.mark.skipif(ACCELERATED, reason="there is an accelerator here")
@LOADERS
def test_s29_pinning_without_an_accelerator(data: Any, workers: int, same: Same) -> None:
    """Nothing is pinned, and the warning says so."""

    def scenario() -> Any:
        events: list[Any] = []
        with noted(events):
            events += history(lambda: DataLoader(data(), 4, pin_memory=True, num_workers=workers), epochs=1)
        return events

    same(scenario)


class Pinned:
    """A batch that pins itself."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples, self.by = samples, ""

    def pin_memory(self, device: Any = None) -> Pinned:
        """Note who asked."""
        self.by = str(device)
        return self


@ACCELERATOR
@WORKERS
@pytest.mark.parametrize("collate", [None, Pinned])
@DATA
def test_s29_pinning(data: Any, collate: Any, workers: int, same: Same) -> None:
    """The same objects are pinned, by their own method where they have one."""

    def make() -> Any:
        return DataLoader(data(), 4, pin_memory=True, num_workers=workers, collate_fn=collate)

    same(lambda: history(make, epochs=1))


@DATA
def test_s30_batches_stay_on_the_host(data: Any, same: Same) -> None:
    """No path sends a batch to a device by itself."""
    seeded()
    seen = same(lambda: [str(batch[0].device) for batch in DataLoader(data(), 4)])

    assert set(seen) == {"cpu"}
