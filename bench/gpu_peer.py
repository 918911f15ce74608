"""What pytorch-autotune picks for a model and one batch of it, in a process of its own.

Run: python bench/gpu_peer.py WORKLOAD SECONDS (a module of bench/gpu with build, make_batch and loss_fn); it prints one
line of JSON after "PICKED". It needs a CUDA device and the package pytorch-autotune.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hotlap.records import Setup, Value

_MODES: dict[str, Value] = {"default": True, "max-autotune": "max-autotune-no-cudagraphs"}  # others by their names
_PRECISIONS: dict[str, tuple[str, Value]] = {
    "tf32": ("matmul-precision", "high"),
    "amp_bf16": ("autocast-bf16", True),
    "amp_fp16": ("autocast-fp16", True),
}


def picked(workload: str, budget_s: int) -> dict[str, Any]:
    """Its report: `winner`, `baseline_ms`, `trials`, `total_s`; or `failed` with the end of what it said."""
    done = subprocess.run(
        [sys.executable, __file__, workload, str(budget_s)], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("PICKED ")]
    return json.loads(told[-1].removeprefix("PICKED ")) if told else {"failed": (done.stdout + done.stderr)[-600:]}


def as_setup(config: dict[str, Any]) -> Setup:
    """The same choices as settings of hotlap; with TF32 and autocast goes cuDNN's benchmark, as it sets it."""
    values: dict[str, Value] = {}
    if config["precision"] in _PRECISIONS:
        knob, value = _PRECISIONS[config["precision"]]
        values |= {knob: value, "cudnn-benchmark": True}
    if config["compile"] != "off":
        values["compile"] = _MODES.get(config["compile"], config["compile"])
    values |= {"channels-last": True} if config["channels_last"] else {}
    values |= {"fused-update": True} if config["fused_opt"] else {}
    return Setup.of(values)


def main() -> None:
    """Let it choose."""
    sys.path.insert(0, str(Path(__file__).parent / "gpu"))
    from pytorch_autotune import autotune  # pyright: ignore[reportMissingImports]

    workload = importlib.import_module(sys.argv[1])
    found = autotune(
        workload.build(), workload.make_batch(), loss_fn=workload.loss_fn, budget=int(sys.argv[2]), cache=False
    )
    print("PICKED", json.dumps(found.report.to_dict()), flush=True)


if __name__ == "__main__":
    main()
