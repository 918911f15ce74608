"""Loader workers: what starting them for every epoch takes, and threads in their place beside a training.

Run: python bench/workers.py [--rounds 15] [--only starts|threads]

starts: one epoch of ten small batches as torch serves it, with workers that are kept (the knob worker-pool, once it has
compared them) and with torch's own persistent_workers, which draw other numbers; forked and started by the fork server;
and forked from a process that holds two million objects. In turn in one process; medians, and of the ratios of the
rounds the 10th and 90th percentile.
threads: one epoch of photographs with random crops, each batch used for a while by products of matrices or by Python;
fetched in the training's process, by one worker process, and by one thread beside the training. That thread takes
another order of random numbers, which is why hotlap has no such path; here it is only timed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
from sample_cache import Compose, Photos, crop, resize, to_tensor, write_images
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Torchs

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.loader.worker_pool import WorkerPool

TASK = {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}}
PHOTOS = 128


class Noise(Dataset[Any]):
    """Cheap samples that draw."""

    def __len__(self) -> int:
        return 640

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(64)


def starts(rounds: int) -> None:
    """A line for each way to start workers."""
    print(
        f"{'started':12}{'objects':>10}{'workers':>8}{'torch ms':>10}{'kept ms':>9}{'persist. ms':>12}   times as fast"
    )
    for context, objects in (("fork", 0), ("fork", 2_000_000), ("forkserver", 0)):
        for workers in (1, 2, 4):
            host = Host(Journal(None), TASK)
            WorkerPool(host, "worker-pool").install()
            beside = [str(number) for number in range(objects)]
            make = partial(DataLoader, Noise(), 64, num_workers=workers, multiprocessing_context=context)
            plain, kept, persistent = make(), make(), make(persistent_workers=True)
            arms = (partial(Torchs, plain), partial(iter, kept), partial(iter, persistent))
            times = [[epoch_s(arm) for arm in arms] for _ in range(rounds + 2)][2:]  # kept workers are proven by then
            host.undo()
            tell(f"{context:12}{len(beside):10}{workers:8}", times)


def epoch_s(arm: Callable[[], Iterable[Any]], use: Callable[[], Any] = lambda: None) -> float:
    """Time of an epoch, from making its iterator to the end [s]."""
    began = perf_counter()
    for _ in arm():
        use()
    return perf_counter() - began


def tell(name: str, times: list[list[float]]) -> None:
    """Medians of the arms, and the ratio of the first to the second."""
    tenths = quantiles((first / second for first, second, *_ in times), n=10)
    middle = median(first / second for first, second, *_ in times)
    print(name, *(f"{1e3 * median(arm):9.1f}" for arm in zip(*times, strict=True)), end="   ")
    print(f"{middle:.2f} ({tenths[0]:.2f} to {tenths[-1]:.2f})", flush=True)


def in_thread(loader: DataLoader[Any], at_once: int = 1, ahead: int = 2) -> Iterator[Any]:
    """Batches that are fetched by a thread beside whoever uses them."""
    fetch: Any = loader._get_iterator().__dict__["_dataset_fetcher"].fetch
    with ThreadPoolExecutor(at_once) as threads:
        waiting: list[Any] = []
        for indices in loader.batch_sampler:
            waiting.append(threads.submit(fetch, indices))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for batch in waiting:
            yield batch.result()


def by_python() -> None:
    """A fixed piece of work that holds the interpreter, as hooks, metrics and small operations do."""
    sum(number * number for number in range(600_000))


def by_torch() -> None:
    """A fixed piece of work that lets go of it."""
    x = torch.ones(512, 512)
    for _ in range(24):
        x = (x @ x).clamp(max=1)


def threads(rounds: int) -> None:
    """A line for each kind of training."""
    torch.set_num_threads(1)
    print(f"{'a batch is used by':22}{'inline ms':>10}{'process ms':>11}{'thread ms':>10}   inline over process")
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), PHOTOS)
        photos = Photos(Path(name), PHOTOS, Compose([resize, crop, to_tensor]))
        inline, process = DataLoader(photos, 16, shuffle=True), DataLoader(photos, 16, shuffle=True, num_workers=1)
        for use in (by_torch, by_python):
            arms = (lambda: iter(inline), lambda: iter(process), lambda: in_thread(inline))
            tell(f"{use.__name__:20}", [[epoch_s(arm, use) for arm in arms] for _ in range(rounds + 1)][1:])


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("starts", "threads"))
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {args.rounds} rounds")
    for part in (starts, threads):
        if args.only in (None, part.__name__):
            part(args.rounds)


if __name__ == "__main__":
    main()
