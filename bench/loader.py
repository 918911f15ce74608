"""hotlap's fetch paths beside torch's DataLoader and other libraries, on four kinds of data, in one run.

Run: python bench/loader.py [--rounds 5] [--threads 1] [--batch-size 64] [--only TEXT]
     pip install tensordict spdl light-dataloader   (without them their rows say so)
Kinds: rows in memory of 24 B to 150 KB with a label; a folder of JPEG files (500x375, with a random crop of 224x224);
WAV files of a second, as they are and as spectrograms; windows of 256 tokens of a memory map. Every file lies in the
page cache. A round is one epoch by each arm, from its third batch on, in turn and in alternating order; a ratio
compares the epochs of a round. Printed are medians over the rounds: samples per second, CPU time per sample (of
worker processes too), and how many times as fast as torch's own loader without workers, with the range of the rounds.
"same" says whether the batches are those of that loader to the bit, in the same order. The last row of a kind is what
it takes to copy the rows, or to decode the files. The cache of hotlap is measured from its third epoch on; what else
converts data has done so beforehand.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # before bench/, which has a loader too

from loader.safety.paths import observed
from peers import PEERS, MissingError
from sample_cache import Compose, Photos, crop, resize, to_tensor, write_images

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.knobs import knob_by_id
from hotlap.loader.compare import difference
from hotlap.records import Skip

TASK = {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}}
ROW_BYTES = (24, 1024, 3072, 12_288, 153_600)
DATA_BYTES = 256 << 20
MOST_ROWS = 40_000
WORKERS = (1, 2)
PATHS = (("whole-batch-fetch", True), ("sample-cache", True), ("fetch-ahead", True), ("loader-workers", WORKERS[-1]))
CONTEXT = 256
_FIRST = 2  # batches, which paths that were put in just now compare with those of torch


class Sounds(Dataset[Any]):
    """Recordings as float32."""

    def __init__(self, folder: Path, count: int) -> None:
        self.files = [str(folder / f"{number}.wav") for number in range(count)]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        with wave.open(self.files[index]) as recording:
            samples = bytearray(recording.readframes(recording.getnframes()))
        return torch.frombuffer(samples, dtype=torch.int16).float() / 32768, index % 10


class Spectra(Sounds):
    """The same recordings as log spectrograms, which is what a network is given."""

    def __getitem__(self, index: int) -> Any:
        sound, label = super().__getitem__(index)
        spectrum = torch.stft(sound, 512, 256, window=torch.hann_window(512), return_complex=True).abs() ** 2
        return torch.log(spectrum + 1e-6), label


class Tokens(Dataset[Any]):
    """Windows of a text, beside the same one token later."""

    def __init__(self, file: Path) -> None:
        self.text = np.memmap(file, dtype=np.uint16, mode="r")

    def __len__(self) -> int:
        return (len(self.text) - 1) // CONTEXT

    def __getitem__(self, index: int) -> Any:
        window = torch.from_numpy(self.text[index * CONTEXT : (index + 1) * CONTEXT + 1].astype(np.int64))
        return window[:-1], window[1:]


@dataclass(frozen=True)
class Work:
    """One kind of data."""

    name: str
    dataset: Dataset[Any]
    batch_size: int
    folder: Path
    limit: Callable[[], Iterator[int]]
    """Does the least that an epoch needs; yields how many samples."""
    columns: Callable[[], tuple[torch.Tensor, ...]] | None = None
    """All samples as tensors, for libraries that want them converted; None where transforms are random."""

    def loader(self, workers: int = 0) -> DataLoader[Any]:
        """Torch's own."""
        return DataLoader(self.dataset, batch_size=self.batch_size, shuffle=True, num_workers=workers)


@contextmanager
def path(work: Work, knob: str, value: Any) -> Iterator[Iterable[Any]]:
    """One of hotlap's, put in for as long as it is measured."""
    host, loader = Host(Journal(None), TASK), work.loader()
    knob_by_id(knob).install(value, host)
    if knob == "sample-cache":
        for _ in range(2):  # the first fills it, the second is compared
            list(loader)
    yield loader
    host.undo()


def arms(work: Work) -> dict[str, Callable[[], AbstractContextManager[Iterable[Any]]]]:
    """By name, what opens it."""
    found: dict[str, Any] = {"torch, no workers": lambda: nullcontext(work.loader())}
    for count in WORKERS:
        found[f"torch, {count} worker{'s' * (count > 1)}"] = lambda count=count: nullcontext(work.loader(count))

    def epoch() -> None:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        for number, _ in enumerate(work.loader()):
            optimizer.step()  # samples are looked at before the first one
            if number == 12:
                break

    with tempfile.TemporaryDirectory() as folder:
        facts = observed(epoch, Path(folder))
    for knob, value in PATHS:
        choices = knob_by_id(knob).choices(facts)
        if isinstance(choices, Skip):
            print(f"{work.name}: {knob} is not offered: {choices.reason}", file=sys.stderr)
        else:
            name = f"hotlap, {knob}" + ("" if value is True else f"={value}")
            found[name] = lambda knob=knob, value=value: path(work, knob, value)
    for name, peer in PEERS.items():
        found[name] = lambda peer=peer: nullcontext(peer(work))
    return found


def measured(batches: Iterable[Any]) -> tuple[float, float]:
    """Wall and CPU time per sample [s] of one epoch, from its third batch on."""
    iterator = iter(batches)
    for _ in range(_FIRST):
        next(iterator)
    began, busy = time.perf_counter(), _busy_s()
    samples = sum(len(batch[0]) for batch in iterator)
    took = time.perf_counter() - began
    del iterator
    return took / samples, (_busy_s() - busy) / samples


def _busy_s() -> float:
    """CPU time of this process and of its children that have ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def _first(batches: Iterable[Any], count: int = 3) -> list[Any]:
    torch.manual_seed(0)
    return [batch for batch, _ in zip(batches, range(count))]


def _is_same(expected: list[Any], batches: Iterable[Any]) -> bool:
    try:
        found = _first(batches)
        return len(found) == len(expected) and not any(difference(*two) for two in zip(expected, found))
    except Exception:  # another kind of batch altogether
        return False


def compare(work: Work, rounds: int) -> None:
    """Print the rows of one kind of data."""
    opened, missing, same = arms(work), {}, {}
    expected = _first(work.loader())
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in opened}
    for number in range(rounds):
        for name in list(opened) if number % 2 else list(opened)[::-1]:
            if name in missing:
                continue
            try:
                with opened[name]() as batches:
                    same.setdefault(name, _is_same(expected, batches))
                    times[name].append(measured(batches))
            except MissingError as reason:
                missing[name] = str(reason)
    stock = times["torch, no workers"]
    for name, spent in times.items():
        if name in missing:
            print(f"| {work.name} | {name} | {missing[name]} | | | |", flush=True)
            continue
        ratios = sorted(base[0] / one[0] for base, one in zip(stock, spent, strict=True))
        rate, busy_us = 1 / median(one[0] for one in spent), median(one[1] for one in spent) * 1e6
        span = f"{median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {work.name} | {name} | {rate:,.0f} | {busy_us:,.1f} | {span} | {'yes' if same[name] else 'no'} |")
    print(f"| {work.name} | limit | {_limit(work, rounds):,.0f} | | | |", flush=True)


def _limit(work: Work, rounds: int) -> float:
    """Samples per second, at best."""
    rates: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        samples = sum(work.limit())
        rates.append(samples / (time.perf_counter() - began))
    return max(rates)


def works(folder: Path, batch_size: int) -> Iterator[Work]:
    """Every kind of data, made here; the rows in batches of a size."""
    for row_bytes in ROW_BYTES:
        rows = torch.randn(min(MOST_ROWS, DATA_BYTES // row_bytes), row_bytes // 4)
        data = TensorDataset(rows, torch.arange(len(rows)) % 10)

        def copied(rows: torch.Tensor = rows) -> Iterator[int]:
            for some in torch.randperm(len(rows)).split(batch_size):
                yield len(rows.index_select(0, some))

        named = f"rows of {row_bytes:,} B"
        yield Work(named, data, batch_size, folder / str(row_bytes), copied, lambda data=data: data.tensors)
    write_images(folder, 96)
    photos = Photos(folder, 96, Compose([resize, crop, to_tensor]))
    decoded = Photos(folder, 96, None)
    yield Work("JPEG files", photos, 16, folder, lambda: (len([decoded[n]]) for n in range(96)))
    draw = np.random.default_rng(0)
    for number in range(512):
        with wave.open(str(folder / f"{number}.wav"), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(16_000)
            recording.writeframes(draw.integers(-9000, 9000, 16_000).astype(np.int16).tobytes())
    for kind, sounds in (("WAV files", Sounds(folder, 512)), ("spectrograms of WAV files", Spectra(folder, 512))):

        def columns(sounds: Sounds = sounds) -> tuple[torch.Tensor, ...]:
            return torch.stack([sound for sound, _ in sounds]), torch.arange(512) % 10

        read = lambda sounds=sounds: (len([sounds[n]]) for n in range(512))  # noqa: E731
        yield Work(kind, sounds, 32, folder / kind, read, columns)
    draw.integers(0, 30_000, 8192 * CONTEXT + 1).astype(np.uint16).tofile(folder / "tokens")
    tokens = Tokens(folder / "tokens")
    each = range(len(tokens))  # a slice beyond the end is empty, so that to iterate over them would never end
    whole = lambda: tuple(torch.stack(part) for part in zip(*(tokens[n] for n in each)))  # noqa: E731
    yield Work("tokens", tokens, 64, folder / "text", lambda: (len([tokens[n]]) for n in range(8192)), whole)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, default=64, help="of the rows in memory")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds of data that hold it in their name")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, {args.rounds} rounds, rows by {args.batch_size}\n")
    print("| data | loader | samples/s | CPU us a sample | beside torch without workers | same |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for work in works(Path(name), args.batch_size):
            if args.only in work.name:
                compare(work, args.rounds)


if __name__ == "__main__":
    main()
