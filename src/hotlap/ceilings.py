"""Measured limits of the machine: how fast it multiplies and how fast it moves memory.

They are measured in the user's interpreter, with the user's torch, while nothing else of hotlap runs.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hotlap.errors import HotlapError
from hotlap.records import Estimate

_SOURCE = str(Path(__file__).resolve().parents[1])
# Only the package's own folder is used: what else lies beside it must not reach the user's interpreter.
_BOOT = """
import importlib, sys
sys.path.append(sys.argv[1])
import hotlap
sys.path.remove(sys.argv[1])
importlib.import_module("hotlap.inside.{module}").main()
"""


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at best, as measured."""

    device: str
    """"cpu", or the name of the accelerator."""
    threads: int
    """CPU threads that torch used."""
    matmul_flops: Estimate
    """Operations per second in float32 products, at torch's default precision."""
    matmul_bf16_flops: Estimate
    """The same in bfloat16."""
    copy_bytes_s: Estimate
    """Bytes read and written per second by large copies."""

    @property
    def as_ceiling(self) -> dict[str, float]:
        """The form that results carry, see `records.Result.ceiling`."""
        return {
            "matmul_flops": self.matmul_flops.value,
            "matmul_bf16_flops": self.matmul_bf16_flops.value,
            "copy_bytes_s": self.copy_bytes_s.value,
        }


def measure(python: str, device: str = "") -> Ceilings:
    """Measure for about three seconds.

    Args:
        python: The training's interpreter.
        device: "cpu" or "cuda"; by default CUDA where it works.

    Raises:
        HotlapError: The interpreter has no torch, or its torch does not work.
    """
    raw = ask(python, "rates", *([device] if device else []))
    return Ceilings(
        device=raw["device"],
        threads=raw["threads"],
        matmul_flops=typical(raw["matmul_flops"], "FLOP/s"),
        matmul_bf16_flops=typical(raw["matmul_bf16_flops"], "FLOP/s"),
        copy_bytes_s=typical(raw["copy_bytes_s"], "B/s"),
    )


def typical(values: list[float], unit: str) -> Estimate:
    """Median with the interval between the second lowest and the second highest.

    Of nine values these hold the true median in 96 % of cases whatever the distribution.

    >>> typical([5.0, 1.0, 9.0, 4.0, 6.0, 3.0, 7.0, 2.0, 8.0], "x")
    Estimate(value=5.0, low=2.0, high=8.0, unit='x', n=9)
    """
    ordered = sorted(values)
    return Estimate(median(ordered), ordered[1], ordered[-2], unit=unit, n=len(ordered))


def ask(python: str, module: str, *arguments: str, limit_s: float = 180) -> dict[str, Any]:
    """Run `hotlap.inside.<module>` in the user's interpreter and read its JSON line.

    Raises:
        HotlapError: It gave none.
    """
    command = [python, "-c", _BOOT.format(module=module), _SOURCE, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HotlapError(
            "no-torch-answer", f"{python} gave no answer: {error}.", fix="try `import torch` in it"
        ) from None
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise HotlapError(
            "no-torch-answer", f"{python} gave no answer: {last}.", fix="try `import torch` in it"
        ) from None
