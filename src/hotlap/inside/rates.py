"""Measured limits of a machine: matrix products and memory copies, run in the user's interpreter by hotlap.ceilings.

One JSON line on stdout: a list of rates per limit, each from a repetition long enough to time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter

import torch

_REPEATS = 9
_REPEAT_S = 0.06
_LARGE_ENOUGH_S = 0.03  # of one product; starting many small ones would be measured otherwise
_SMALLEST = 512
_LARGEST = {"cpu": 4096, "cuda": 8192}
_COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}


def main() -> None:
    """Measure on the device named on the command line, by default CUDA where it works."""
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    device = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    measured = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "matmul_flops": _products(device, torch.float32),
        "matmul_bf16_flops": _products(device, torch.bfloat16),
        "copy_bytes_s": _copies(device),
    }
    print(json.dumps(measured), flush=True)


def _products(device: str, dtype: torch.dtype) -> list[float]:
    """Floating-point operations per second in square products, as large as a repetition allows."""
    size = _SMALLEST
    while True:
        act = _product(size, device, dtype)
        # The best of three: a moment's contention must not end in a size too small to say anything.
        taken_s = _best(device, act)
        if size >= _LARGEST[device] or taken_s > _LARGE_ENOUGH_S:
            return _rates(device, act, taken_s, 2.0 * size**3)
        size *= 2


def _product(size: int, device: str, dtype: torch.dtype) -> Callable[[], object]:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _copies(device: str) -> list[float]:
    """Bytes read and written per second by copies that no cache holds."""
    source = torch.ones(_COPY_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)

    def act() -> object:
        return target.copy_(source)

    return _rates(device, act, _best(device, act), 2.0 * _COPY_BYTES[device])


def _rates(device: str, act: Callable[[], object], taken_s: float, work: float) -> list[float]:
    times = max(1, round(_REPEAT_S / taken_s))
    return [work / _timed(device, act, times) for _ in range(_REPEATS)]


def _best(device: str, act: Callable[[], object]) -> float:
    act()  # the first of its kind sets up threads and kernels
    return min(_timed(device, act, 1) for _ in range(3))


def _timed(device: str, act: Callable[[], object], times: int) -> float:
    """Mean seconds of one act."""
    _wait(device)
    start = perf_counter()
    for _ in range(times):
        act()
    _wait(device)
    return (perf_counter() - start) / times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
