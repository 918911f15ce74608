"""The stock loader against whole-batch fetch, for rows of 256 B to 48 KB, interleaved in one process.

Run: python bench/whole_batch.py [--rounds 15] [--batch-size 64] [--threads N]
A round is one epoch by each arm, in alternating order; a ratio compares the two epochs of a round. Printed are medians
over the rounds with the 10th and 90th percentile of the ratio. The fast arm includes its own comparisons with stock,
as often as in a training of so many epochs.
"""

from __future__ import annotations

import argparse
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hotlap.inside.host import Host
from hotlap.inside.journal import Journal
from hotlap.loader.serve import WholeBatches

ROW_BYTES = (256, 1024, 3072, 12_288, 49_152)
DATA_BYTES = 96 << 20
"""Well beyond the caches, so that rows come from memory as they do in training."""


class Samples(Dataset[Any]):
    """A dataset as scripts write it."""

    def __init__(self, rows: torch.Tensor, labels: torch.Tensor) -> None:
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index], int(self.labels[index])


def epoch_s(loader: DataLoader[Any], batches: int) -> float:
    """Time for so many batches [s], without the cost of starting the iteration."""
    iterator = iter(loader)
    next(iterator)
    began = perf_counter()
    for _ in range(batches - 1):
        next(iterator)
    return (perf_counter() - began) / (batches - 1)


def measure(dataset: Dataset[Any], batch_size: int, rounds: int) -> tuple[float, float, list[float]]:
    """Median time per batch [s] of stock and of whole-batch fetch, and the ratio of each round."""
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)
    batches = min(len(loader), 200)
    host = Host(Journal(None), {"purpose": "run", "settings": [], "roots": [], "seed": 0, "options": {}})
    path = WholeBatches(host, "whole-batch-fetch")
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):
        for fast in (False, True) if number % 2 else (True, False):
            if fast:
                host.refetch(path.fetch)
            spent = epoch_s(loader, batches)
            host.undo()
            if number:  # the first round warms up
                times[fast].append(spent)
    ratios = [stock / fast for stock, fast in zip(times[False], times[True], strict=True)]
    return median(times[False]), median(times[True]), ratios


def main() -> None:
    """Print one line per kind of dataset and size of row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, batch {args.batch_size}, {args.rounds} rounds")
    print(f"{'dataset':16}{'row':>8}{'stock us':>11}{'whole us':>11}{'ratio':>8}   10 % .. 90 %")
    for row_bytes in ROW_BYTES:
        rows = torch.randn(DATA_BYTES // row_bytes, row_bytes // 4)
        labels = torch.arange(len(rows)) % 10
        for dataset in (TensorDataset(rows, labels), Samples(rows, labels)):
            stock_s, whole_s, ratios = measure(dataset, args.batch_size, args.rounds)
            tenths = quantiles(ratios, n=10)
            print(
                f"{type(dataset).__name__:16}{row_bytes:8}{stock_s * 1e6:11.1f}{whole_s * 1e6:11.1f}"
                f"{median(ratios):8.2f}   {tenths[0]:.2f} .. {tenths[-1]:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
