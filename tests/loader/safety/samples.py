"""Datasets, samplers and loaders that lean on one line of the checklist each."""

from __future__ import annotations

import math
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    get_worker_info,
)
from torch.utils.data import SubsetRandomSampler as SubsetRandom
from torch.utils.data import WeightedRandomSampler as Weighted
from torch.utils.data.distributed import DistributedSampler

ROWS = 21


def rows() -> TensorDataset:
    """Rows that name their index."""
    return TensorDataset(torch.arange(ROWS * 3).reshape(ROWS, 3) / 7, torch.arange(ROWS))


class Rows(Dataset[Any]):
    """Rows as scripts write them."""

    def __init__(self) -> None:
        self.x = torch.arange(ROWS * 4).reshape(ROWS, 4) / 3
        self.y = list(range(ROWS))

    def __getitem__(self, i):
        return self.x[i], self.y[i]

    def __len__(self) -> int:
        return ROWS


class Of(Dataset[Any]):
    """Sample i is `make(i)`."""

    def __init__(self, make: Callable[[int], Any], n: int = 10) -> None:
        self.make, self.n = make, n

    def __getitem__(self, i):
        return self.make(i)

    def __len__(self) -> int:
        return self.n


class Computed(Rows):
    """Work that draws nothing and is no plain row, so that processes may do it."""

    def __getitem__(self, i):
        return self.x[i].softmax(0), self.y[i]


# -- orders


class Drawing(Sampler[int]):
    """Draws at each index, and at once when it is asked for an iterator, as torch's own do not."""

    def __init__(self, eager: bool) -> None:
        self.eager = eager

    def __iter__(self) -> Iterator[int]:
        first = random.randrange(ROWS)
        return self.indices(first) if self.eager else iter([first, *self.indices(first)])

    @staticmethod
    def indices(first: int) -> Iterator[int]:
        yield first
        for _ in range(7):
            yield int(torch.randint(ROWS, ()))

    def __len__(self) -> int:
        return 8


class Uneven(Sampler[list[int]]):
    """Batches of different sizes."""

    def __iter__(self):
        order = torch.randperm(12).tolist()
        yield from (order[:1], order[1:6], order[6:8])

    def __len__(self) -> int:
        return 3


def orders(data: Callable[[], Any], **more: Any) -> dict[str, Callable[[], DataLoader[Any]]]:
    """A loader for each way to order the samples of a dataset.

    Args:
        data: Builds the dataset.
        more: What else the loaders are given, as `num_workers`.
    """

    def load(*args: Any, **kwargs: Any) -> DataLoader[Any]:
        return DataLoader(*args, **more, **kwargs)

    own = partial(torch.Generator().manual_seed, 2)
    return {
        "sequential": lambda: load(data(), 4),
        "shuffled": lambda: load(data(), 4, shuffle=True),
        "drop last": lambda: load(data(), 4, shuffle=True, drop_last=True),
        "replacement": lambda: load(data(), 4, sampler=RandomSampler(data(), replacement=True, num_samples=30)),
        "subset": lambda: load(data(), 4, sampler=SubsetRandom(range(5, 16))),
        "weighted": lambda: load(data(), 4, sampler=Weighted([1.0, 3.0] * 9, 14)),
        "distributed": lambda: load(data(), 4, sampler=DistributedSampler(data(), 2, 1)),
        "own generator": lambda: load(data(), 4, shuffle=True, generator=own()),
        "own sampler": lambda: load(data(), 4, sampler=Drawing(eager=False)),
        "eager sampler": lambda: load(data(), 4, sampler=Drawing(eager=True)),
        "own batches": lambda: load(data(), batch_sampler=Uneven()),
        "batch sampler": lambda: load(data(), batch_sampler=BatchSampler(RandomSampler(data()), 5, True)),
        "single samples": lambda: load(data(), batch_size=None, shuffle=True),
    }


def set_epoch(loader: DataLoader[Any], epoch: int) -> None:
    """As distributed trainings do."""
    if isinstance(loader.sampler, DistributedSampler):
        loader.sampler.set_epoch(epoch)


# -- what fetching may look at


class Late(Rows):
    """Free of randomness until its last rows."""

    def __getitem__(self, i):
        return self.x[i] + (torch.rand(()) if i > 16 else 0)


class Seeds(Rows):
    """Tells how it was seeded."""

    def __getitem__(self, i):
        info = get_worker_info()
        return i, torch.initial_seed() % 2**62, -1 if info is None else info.seed % 2**62


class Threads(Rows):
    """A sum whose last bits depend on how many threads share it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.long = torch.randn(ROWS, 1 << 17)

    def __getitem__(self, i):
        return torch.sum(self.long[i].exp()), torch.get_num_threads()


def helper(dataset: Any) -> tuple[int, int, bool]:
    """What a nested function learns of the worker."""
    info = get_worker_info()
    return (-1, -1, True) if info is None else (info.id, info.num_workers, info.dataset is dataset)


class Informed(Rows):
    """Looks at the worker's information by way of a helper."""

    def __getitem__(self, i):
        return (i, *helper(self))


def informed(samples: list[Any]) -> Any:
    """The same in a collate_fn."""
    info = get_worker_info()
    return [tuple(sample[1:]) for sample in samples], None if info is None else (info.id, info.num_workers)


class Stream(IterableDataset[Any]):
    """Shards by worker, and may tell a wrong length."""

    def __init__(self, told: int) -> None:
        self.told = told

    def __iter__(self):
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        yield from (torch.tensor([i, step]) for i in range(start, 11, step))

    def __len__(self) -> int:
        return self.told


class Counts(Rows):
    """Changes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.visits = 0

    def __getitem__(self, i):
        self.visits += 1
        return i, self.visits


class Levels(Rows):
    """Has an attribute that scripts raise as they go."""

    def __init__(self) -> None:
        super().__init__()
        self.level = 0

    def __getitem__(self, i):
        return i * 100 + self.level


class Gated(Rows):
    """Understood rows with a transform that may be set later."""

    def __init__(self) -> None:
        super().__init__()
        self.transform: Any = None

    def __getitem__(self, i):
        x = self.x[i]
        if self.transform is not None:
            x = self.transform(x)
        return x, self.y[i]


# -- what batches may hold

Point = namedtuple("Point", ["x", "y"])


class Table(OrderedDict[str, Any]):
    """A dict of somebody's own."""


class Opaque:
    """Nothing that collation knows."""


KINDS: dict[str, Callable[[int], Any]] = {
    "tuple": lambda i: (i, float(i)),
    "named tuple": lambda i: Point(torch.tensor(i), i / 3),
    "dict": lambda i: {"b": i, "a": (str(i), [i, i + 1])},
    "own dict": lambda i: Table(z=i, a=torch.ones(2) * i),
    "string": lambda i: f"name {i}",
    "bytes": lambda i: bytes([i, i]),
    "none": lambda i: None,
    "int": lambda i: i,
    "float": lambda i: i / 7,
    "bool": lambda i: i % 2 == 0,
    "numpy float": lambda i: np.float32(i / 7),
    "numpy bool": lambda i: np.bool_(i % 2),
    "numpy uint8": lambda i: np.uint8(i),
    "numpy array": lambda i: np.arange(3, dtype=np.int16) * i,
    "0-d array": lambda i: np.array(i / 7),
    "0-d tensor": lambda i: torch.tensor(i / 7),
    "object array": lambda i: np.array([Opaque()]),
    "string array": lambda i: np.array(["a"]),
    "empty": lambda i: torch.empty(0, 3),
    "sparse": lambda i: torch.eye(3).to_sparse(),
    "nested": lambda i: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
    "opaque": lambda i: Opaque(),
    "unequal shapes": lambda i: torch.ones(1 + i % 2),
    "unequal types": lambda i: torch.ones(1) if i % 2 else 1,
    "unequal keys": lambda i: {"a": i} if i % 2 else {"b": i},
    "unequal lengths": lambda i: [0] * (1 + i % 2),
    "needs a gradient": lambda i: torch.ones(2, requires_grad=True),
    "half": lambda i: torch.full((2,), i / 7).half(),
    "parameter": lambda i: torch.nn.Parameter(torch.ones(2), requires_grad=False),
}

LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "planes of an image": lambda t: t.permute(0, 3, 1, 2),
    "channels last": lambda t: t.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
    "every second": lambda t: t[:, ::2],
    "every second row": lambda t: t[::2],
    "expanded": lambda t: t[:, :1].expand(-1, 5, -1, -1),
    "conjugate": lambda t: torch.complex(t, t).conj(),
    "part of a storage": lambda t: t.flatten()[8:].unflatten(0, (-1, 8)),
}


def pictures() -> torch.Tensor:
    """Images with the channels last, as decoders give them."""
    return torch.arange(6 * 4 * 4 * 3).reshape(6, 4, 4, 3) / 5


# -- what goes wrong


class TwoArgumentsError(Exception):
    """Cannot be raised anew from its text."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


class Fails(Rows):
    """Fails at one sample."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        super().__init__()
        self.error = error

    def __getitem__(self, i):
        if i == 9:
            raise self.error()
        return self.x[i] * 2


class Files(Rows):
    """Reads a file for each sample."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __getitem__(self, i):
        return torch.frombuffer(bytearray((self.folder / str(i)).read_bytes()), dtype=torch.uint8), math.sqrt(i)
