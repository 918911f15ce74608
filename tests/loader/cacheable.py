"""Datasets that read files, transform and draw, as scripts write them."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
import wave
import zlib
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

FETCHED = multiprocessing.Value("i", 0)
"""Samples that were really made, in all processes."""
OFFSET = 0.0
CLOCK = time
SIDE = 16
Pair = namedtuple("Pair", ["x", "y"])


def counted() -> None:
    """One more."""
    with FETCHED.get_lock():
        FETCHED.value += 1


def age(path: Path) -> None:
    """A file written just now is not kept."""
    os.utime(path, ns=(10**18, 10**18 + zlib.crc32(path.read_bytes())))


def make_files(folder: Path, count: int = 12) -> list[str]:
    """Small JPEG, WAV and NumPy files, 0.* to count - 1.*."""
    draw = np.random.default_rng(0)
    for number in range(count):
        image = Image.fromarray(draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((40, 30))
        image.save(folder / f"{number}.jpg", quality=90, dpi=(72, 72))
        with wave.open(str(folder / f"{number}.wav"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(draw.integers(-999, 999, 64, dtype=np.int16).tobytes())
        np.save(folder / f"{number}.npy", draw.random((4, 5)))
        for kind in ("jpg", "wav", "npy"):
            age(folder / f"{number}.{kind}")
    return [str(folder / str(number)) for number in range(count)]


class Compose:
    """As torchvision's."""

    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms

    def __call__(self, img):
        """In turn."""
        for t in self.transforms:
            img = t(img)
        return img


class ComposeModule(torch.nn.Module):
    """As in torchvision.transforms.v2."""

    def __init__(self, transforms: list[Any]) -> None:
        super().__init__()
        self.transforms = transforms

    def forward(self, *inputs: Any) -> Any:
        needs_unpacking = len(inputs) > 1
        for transform in self.transforms:
            outputs = transform(*inputs)
            inputs = outputs if needs_unpacking else (outputs,)
        return outputs


class Module(torch.nn.Module):
    """A transform as a module."""

    def __init__(self, transform: Any) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Any) -> Any:
        return self.transform(x)


class Backwards(Compose):
    """Not in turn."""

    def __call__(self, img):
        for t in reversed(self.transforms):
            img = t(img)
        return img


class Resize:
    def __init__(self, size: tuple[int, int] = (24, 18)) -> None:
        self.size = size

    def __call__(self, image: Any) -> Any:
        return image.resize(self.size, Image.Resampling.BILINEAR)


def side() -> int:
    """As a script sets it that trains on larger images in later epochs."""
    return SIDE


class Progressive:
    """By a global of a function that it calls."""

    def __call__(self, image: Any) -> Any:
        return image.resize((side(), side()), Image.Resampling.BILINEAR)


class Crop:
    def __call__(self, image: Any) -> Any:
        x, y = int(torch.randint(0, image.size[0] - 9, ())), int(torch.randint(0, image.size[1] - 9, ()))
        return image.crop((x, y, x + 10, y + 10))


class Flip:
    def __call__(self, image: Any) -> Any:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image


class ToTensor:
    def __call__(self, image: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


class Noise:
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x + float(np.random.rand())


class Invert:
    """In place, as some transforms are."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x.neg_().add_(torch.rand(()))


AUGMENT = [Resize(), Crop(), Flip(), ToTensor(), Noise()]


class Files(Dataset[Any]):
    """Something with files."""

    def __init__(self, files: list[str], transform: Any = None) -> None:
        self.samples = [(file, number % 3) for number, file in enumerate(files)]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)


def load(path: str) -> Any:
    """As torchvision's pil_loader."""
    with open(path, "rb") as file:  # noqa: PTH123
        return Image.open(file).convert("RGB")


class Photos(Files):
    """As torchvision's DatasetFolder."""

    loader = staticmethod(load)

    def __getitem__(self, index):
        counted()
        path, target = self.samples[index]
        sample = self.loader(path + ".jpg")
        if self.transform is not None:
            sample = self.transform(sample)
        return sample, target


class Sounds(Files):
    """No transform and no draws."""

    def __getitem__(self, index):
        counted()
        with wave.open(self.samples[index][0] + ".wav") as file:
            data = bytearray(file.readframes(file.getnframes()))
        x = torch.frombuffer(data, dtype=torch.int16).float() + OFFSET
        return {
            "x": torch.stft(x, 16, window=torch.hann_window(16), return_complex=True).abs(),
            "name": f"sound {index}",
            "y": self.samples[index][1],
        }


class Mixed(Files):
    """Every kind of value."""

    def __getitem__(self, index):
        array = np.load(self.samples[index][0] + ".npy")
        x = torch.from_numpy(array)
        return Pair(
            (array * 2, array.T, np.float32(array[0, 0]), x.t() * 1, [x.half(), x > 0.5, x.bfloat16()]),
            {"a": [index, 1.5, True, "a"], "b": {"c": x[1:, ::2], "d": b"d"}, "e": (x.int(), x.to(torch.complex64))},
        )


class Owned(Files):
    """Every kind of value that owns its memory."""

    def __getitem__(self, index):
        array = np.load(self.samples[index][0] + ".npy")
        x = torch.tensor(array)
        return Pair(
            (array * 2, np.asfortranarray(array), np.float32(array[0, 0]), x.t().clone(), [x.half(), x > 0.5]),
            {
                "a": [index, 1.5, True, "a"],
                "b": {"c": x[1:, ::2].clone(), "d": b"d"},
                "e": (x.int(), torch.empty(0, 3)),
            },
        )


class Spectrograms(Files):
    """Draws before its work, as examples/speech.py does."""

    def __getitem__(self, index):
        array = np.load(self.samples[index][0] + ".npy")
        return np.roll(array, int(torch.randint(0, 3, ())))


class AfterIt(Files):
    """Draws once more when the transform is done."""

    def __getitem__(self, index):
        sample = self.transform(load(self.samples[index][0] + ".jpg"))
        return sample, random.random()


class Counting(Files):
    """Changes itself."""

    def __init__(self, files: list[str], transform: Any = None) -> None:
        super().__init__(files, transform)
        self.count = 0

    def __getitem__(self, index):
        self.count += 1
        sample = load(self.samples[index][0] + ".jpg")
        if self.transform:
            sample = self.transform(sample)
        return sample, self.count


class Broken(Photos):
    """Fails for one sample, once it has drawn."""

    def __getitem__(self, index):
        if index == 5:
            raise KeyError(f"no sample {index}", torch.rand(()).item())
        return ToTensor()(load(self.samples[index][0] + ".jpg"))


class Urandom(Files):
    """Randomness that moves no generator, and that its code does not name."""

    def __getitem__(self, index):
        np.load(self.samples[index][0] + ".npy")
        return int.from_bytes(vars(os)["urandom"](6), "little")


class Clock(Files):
    def __getitem__(self, index):
        return vars(CLOCK)["perf_counter_ns"]()


class Fresh(Files):
    """A generator that is made anew for each sample."""

    def __getitem__(self, index):
        return float(np.random.default_rng().random())


class Timed(Files):
    def __getitem__(self, index):
        return time.time()
