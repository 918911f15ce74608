"""Torch's own fetch against the sample cache: a folder of JPEG files under three chains of transforms, and speech.py.

Run: python bench/sample_cache.py [--images 120] [--rounds 5] [--threads 1]
The files are 500x375 pixels and lie in a temporary folder, so they come from the page cache. A round is one epoch by
torch's fetch, one that fills an empty cache, one that is served from it with the comparisons of the start, and one more
of that kind, which counts; printed are medians per sample over the rounds, and the range of the rounds' ratios.

For examples/speech.py, whose samples cannot be cut, it prints what each part of a sample takes: the share before the
first draw bounds what any cache could save.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs.data.sample_cache import SampleCache
from hotlap.loader.sample_cache import why_not_cached

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))


class Compose:
    """As torchvision's."""

    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img


def resize(image: Any) -> Any:
    """The shorter side to 256."""
    return image.resize((341, 256), Image.Resampling.BILINEAR)


def centre(image: Any) -> Any:
    """224x224 pixels of the middle."""
    return image.crop((58, 16, 282, 240))


def crop(image: Any) -> Any:
    """224x224 pixels somewhere."""
    x, y = int(torch.randint(0, image.size[0] - 223, ())), int(torch.randint(0, image.size[1] - 223, ()))
    return image.crop((x, y, x + 224, y + 224))


def resized_crop(image: Any) -> Any:
    """A part of 8 % to all of the image, as 224x224 pixels; torchvision's usual augmentation for ImageNet."""
    share = torch.empty(1).uniform_(0.08, 1.0).item() ** 0.5
    width, height = int(image.size[0] * share), int(image.size[1] * share)
    x, y = (int(torch.randint(0, size + 1, ())) for size in (image.size[0] - width, image.size[1] - height))
    return image.resize((224, 224), Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))


def flip(image: Any) -> Any:
    """Half of the time."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image


def to_tensor(image: Any) -> torch.Tensor:
    """From 0 to 1, 3x224x224."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


CHAINS = {
    "resized crop, flip": [resized_crop, flip, to_tensor],
    "resize, crop, flip": [resize, crop, flip, to_tensor],
    "resize, centre": [resize, centre, to_tensor],
}


class Photos(Dataset[Any]):
    """As torchvision's DatasetFolder."""

    def __init__(self, folder: Path, count: int, transform: Any) -> None:
        self.samples = [(str(folder / f"{number}.jpg"), number % 10) for number in range(count)]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        path, target = self.samples[index]
        with open(path, "rb") as file:  # noqa: PTH123
            sample = Image.open(file).convert("RGB")
        if self.transform is not None:
            sample = self.transform(sample)
        return sample, target


def write_images(folder: Path, count: int) -> None:
    """Smooth shapes with some noise, about 65 KB each."""
    draw = np.random.default_rng(0)
    for number in range(count):
        smooth = Image.fromarray(draw.integers(0, 255, (25, 34, 3), dtype=np.uint8))
        pixels = np.asarray(smooth.resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
        noisy = (pixels + draw.integers(-12, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number}.jpg", quality=90)


def epoch_s(loader: DataLoader[Any]) -> float:
    """Time per sample [s]."""
    began = perf_counter()
    samples = sum(len(targets) for _, targets in loader)
    return (perf_counter() - began) / samples


def measure(folder: Path, count: int, chain: list[Any], rounds: int) -> list[list[float]]:
    """Of each round: time per sample [s] of torch's fetch, of the epoch that fills, and of the third with the cache."""
    loader = DataLoader(Photos(folder, count, Compose(chain)), batch_size=16, shuffle=True)
    times: list[list[float]] = []
    for _ in range(rounds):
        host = Host(Journal(None), {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}})
        stock = epoch_s(loader)
        SampleCache().install(True, host)
        filling, _, cached = (epoch_s(loader) for _ in range(3))
        times.append([stock, filling, cached])
        host.undo()
    return times


def best_us(act: Callable[[int], Any], count: int = 200) -> float:
    """Least mean time of a call over five passes [us]."""
    passes: list[float] = []
    for _ in range(5):
        began = perf_counter()
        for index in range(count):
            act(index)
        passes.append((perf_counter() - began) / count * 1e6)
    return min(passes)


def speech() -> None:
    """The parts of a sample of examples/speech.py."""
    from speech import Words

    words = Words("train")

    def read(index: int) -> bytearray:
        with wave.open(str(words.files[index])) as recording:
            return bytearray(recording.readframes(recording.getnframes()))

    def before_the_draw(index: int) -> torch.Tensor:
        return torch.frombuffer(read(index), dtype=torch.int16).float() / 32768

    whole, reading, before = best_us(words.__getitem__), best_us(read), best_us(before_the_draw)
    print(f"\nspeech.py, one sample: {whole:.0f} us; reading it {reading:.0f} us, all before its draw {before:.0f} us")
    print(f"a cache of what comes before the draw could make it at most {whole / (whole - before):.2f} times faster")
    print(f"why it is not cached: {why_not_cached(DataLoader(words, 32))}")


def main() -> None:
    """Print one line per chain, then the parts of speech.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, {args.images} images, {args.rounds} rounds")
    print(f"{'transforms':20}{'stock us':>10}{'filling us':>12}{'cached us':>11}{'ratio':>7}   range")
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), args.images)
        for chain_name, chain in CHAINS.items():
            times = measure(Path(name), args.images, chain, args.rounds)
            stock, filling, cached = (median(of) * 1e6 for of in zip(*times, strict=True))
            ratios = sorted(one[0] / one[2] for one in times)
            print(
                f"{chain_name:20}{stock:10.0f}{filling:12.0f}{cached:11.0f}{median(ratios):7.2f}   "
                f"{ratios[0]:.2f} .. {ratios[-1]:.2f}",
                flush=True,
            )
    speech()


if __name__ == "__main__":
    main()
