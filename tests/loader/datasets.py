"""Datasets as scripts write them."""

from __future__ import annotations

import random
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

TABLE_RNG = np.random.default_rng(0)
Pair = namedtuple("Pair", ["x", "y"])


class Sized(Dataset[Any]):
    """Something with a length."""

    def __init__(self, n: int = 64) -> None:
        self.x = torch.randn(n, 3, 4)
        self.y = torch.arange(n) % 10
        self.a = np.arange(n * 6, dtype=np.float32).reshape(n, 6)
        self.s = np.arange(n, dtype=np.float64) / 3
        self.names = [f"sample {i}" for i in range(n)]
        self.targets = [i % 5 for i in range(n)]
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self.x)


# -- forms that are understood


class Tuple(Sized):
    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Single(Sized):
    def __getitem__(self, i):
        """One tensor."""
        return self.x[i]


class Locals(Sized):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.x[index], int(self.y[index])
        scores = self.a
        score = scores[index]
        if self.transform is not None:
            image = self.transform(image)
        return image, label, score


class Dictionary(Sized):
    def __getitem__(self, idx):
        return {"x": self.x[idx], "rest": [self.names[idx], (self.s[idx], idx)], "target": self.targets[idx]}


class Numbers(Sized):
    def __getitem__(self, i):
        return (
            int(self.y[i]),
            float(self.s[i]),
            self.s[i].item(),
            float(self.y[i]),
            self.y[i].item(),
            float(self.targets[i]),
        )


class Made(Sized):
    def __getitem__(self, i):
        return (
            torch.from_numpy(self.a[i]),
            torch.tensor(self.a[i], dtype=torch.float64),
            torch.as_tensor(self.s[i]).float(),
            torch.tensor(self.s[i]),
            self.x[i].half(),
            self.y[i].float(),
        )


class List(Sized):
    def __getitem__(self, i):
        return [self.x[i], self.names[i]]


class Windowed(Sized):
    """Windows of a text, as language models take them."""

    def __init__(self, n: int = 64) -> None:
        super().__init__(n)
        self.context = 5
        self.text = torch.arange(n * self.context + 1) * 3 % 101

    def __getitem__(self, index):
        window = self.text[index * self.context : (index + 1) * self.context + 1]
        return window[:-1], window[1:]


CONTEXT = 5


class TokenFile(Windowed):
    """Tokens as files hold them, mapped for reading."""

    def __init__(self, n: int = 64) -> None:
        super().__init__(n)
        self.text = self.text.numpy().astype(np.uint16)
        self.text.flags.writeable = False

    def __getitem__(self, index):
        start = index * CONTEXT
        x = torch.from_numpy(self.text[start : start + CONTEXT].astype(np.int64))
        y = torch.from_numpy((self.text[start + 1 : start + 1 + CONTEXT]).astype(np.int64))
        return x, y


class Forecasts(Sized):
    """Overlapping windows of several series, and what comes after them."""

    def __init__(self, n: int = 64) -> None:
        super().__init__(n)
        self.series = np.random.default_rng(0).normal(size=(n + 10, 3))
        self.past, self.ahead = 7, 2

    def __getitem__(self, t):
        end = t + self.past
        past, future = self.series[t:end], self.series[end : end + self.ahead]
        return {
            "past": torch.tensor(past, dtype=torch.float32),
            "last": future[-1:],
            "next": self.series[t + self.past],
            "time": t,
        }


class Sentences(Sized):
    """Rows of tokens beside the same row one token later."""

    def __init__(self, n: int = 64) -> None:
        super().__init__(n)
        self.tokens = torch.arange(n * 9).reshape(n, 9)

    def __getitem__(self, i):
        row = self.tokens[i]
        return row[:-1].float(), row[1:], self.x[i][-2:]


UNDERSTOOD = (Tuple, Single, Locals, Dictionary, Numbers, Made, List, Windowed, TokenFile, Forecasts, Sentences)


# -- forms that are not


class Augments(Sized):
    def __getitem__(self, i):
        return self.x[i] + torch.randn(3, 4), self.y[i]


class Reads(Sized):
    def __getitem__(self, i):
        with Path(__file__).open() as file:
            return len(file.read()), self.y[i]


class Counts(Sized):
    def __getitem__(self, i):
        self.served = getattr(self, "served", 0) + 1
        return self.x[i]


class Property(Sized):
    @property
    def images(self):
        return self.x * 2

    def __getitem__(self, i):
        return self.images[i]


class Own(Tuple):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


class Lazy(Sized):
    def __getattr__(self, name):
        raise AttributeError(name)

    def __getitem__(self, i):
        return self.x[i]


class Slices(Sized):
    def __getitem__(self, i):
        return self.x[i : i + 4 : 2]


class Named(Sized):
    def __getitem__(self, i):
        return Pair(self.x[i], self.y[i])


class Transforms(Sized):
    def __init__(self) -> None:
        super().__init__()
        self.transform = torch.abs

    def __getitem__(self, i):
        x = self.x[i]
        if self.transform:
            x = self.transform(x)
        return x


class Doubled(Tuple):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x * 2, y


class Halves(Sized):
    def __getitem__(self, i):
        return self.x[i], self.x[i // 2]


class Squares(Sized):
    def __getitem__(self, i):
        return self.x[i * i]


class OpenEnded(Sized):
    def __getitem__(self, i):
        return self.x[i:]


class Varies(Sized):
    def __getitem__(self, i):
        return self.x[i : 3 * i + 3]


class Empty(Sized):
    def __getitem__(self, i):
        return self.x[i : i + 2][2:]


class Scaled(Sized):
    def __getitem__(self, i):
        x = self.x[i]
        return x * 2


class Neighbours(Sized):
    def __getitem__(self, i):
        return self.x[i], i + 1


class Fixed(Sized):
    def __getitem__(self, i):
        return self.x[0]


class ListSlices(Sized):
    def __getitem__(self, i):
        return self.targets[i : i + 2]


class Halved(Sized):
    def __init__(self) -> None:
        super().__init__()
        self.length = 1.0

    def __getitem__(self, i):
        return self.x[i * self.length]


class Comprehends(Sized):
    def __getitem__(self, i):
        return [t[i] for t in (self.x, self.y)]


class Shadows(Sized):
    def __getitem__(self, i):
        int = self.y
        return int(i)


class Decorated(Sized):
    @torch.no_grad()
    def __getitem__(self, i):
        return self.x[i]


REFUSED = {
    Augments: "does more than take rows: `self.x[i] + torch.randn(3, 4)`",
    Reads: "does more than take rows: `with Path(__file__).open() as file:`",
    Counts: "does more than take rows: `self.served = ",
    Property: "self.images is a property",
    Own: "has a __getitems__ of its own",
    Lazy: "computes its attributes",
    Slices: "does more than take rows: `self.x[i:i + 4:2]`",
    Named: "does more than take rows: `Pair(self.x[i], self.y[i])`",
    Transforms: "does more than take rows: `if self.transform:`",
    Doubled: "does more than take rows: `x, y = super().__getitem__(i)`",
    Halves: "does more than take rows: `i // 2`",
    Squares: "multiplies the index by itself",
    OpenEnded: "does more than take rows: `self.x[i:]`",
    Varies: "its windows differ in length",
    Empty: "cuts off all of a row",
    Scaled: "does more than take rows: `x * 2`",
    Neighbours: "does more than take rows: `i + 1`",
    Fixed: "does more than take rows: `self.x[0]`",
    ListSlices: "it is a list, of which slices are taken",
    Halved: "self.length is no integer",
    Comprehends: "does more than take rows: `[t[i] for t in (self.x, self.y)]`",
    Shadows: "does more than take rows: `int(i)`",
    Decorated: "not a plain Python method",
}


# -- sources of randomness


class TorchDraw(Sized):
    def __getitem__(self, i):
        return self.x[i] + torch.rand(())


class PythonDraw(Sized):
    def __getitem__(self, i):
        return self.x[i].flip(0) if random.random() < 0.5 else self.x[i]


class NumpyDraw(Sized):
    def __getitem__(self, i):
        return self.a[i] * np.random.rand()


class PrivateNumpy(Sized):
    def __init__(self) -> None:
        super().__init__()
        self.steps = [("noise", {"rng": np.random.default_rng(3)})]

    def __getitem__(self, i):
        return self.a[i]


class PrivateTorch(Sized):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def __getitem__(self, i):
        return self.x[torch.randint(len(self.x), (), generator=self.generator)]


class GlobalGenerator(Sized):
    def __getitem__(self, i):
        return self.a[i] + TABLE_RNG.random()


class Clock(Sized):
    def __getitem__(self, i):
        return time.perf_counter_ns()


class Mutates(Sized):
    def __getitem__(self, i):
        self.x[i] += 1
        return self.x[i]


class Caches(Sized):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[int, Any] = {}

    def __getitem__(self, i):
        if i not in self.cache:
            self.cache[i] = self.x[i].abs()
        return self.cache[i]


class Steady(Sized):
    """Work without randomness."""

    def __getitem__(self, i):
        return (self.x[i] * 2).softmax(-1), self.names[i], {"y": int(self.y[i]), "z": 1.5}


DRAWS = {
    TorchDraw: True,
    PythonDraw: True,
    NumpyDraw: True,
    PrivateNumpy: True,
    PrivateTorch: True,
    GlobalGenerator: True,
    Clock: True,
    Mutates: True,
    Caches: None,
    Steady: False,
    Tuple: False,
}
