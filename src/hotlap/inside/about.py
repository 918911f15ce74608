"""What an interpreter's torch is, for `hotlap doctor`: run in the user's interpreter, one JSON line on stdout."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from hotlap.inside.machine import machine


def main() -> None:
    """Print it."""
    facts: dict[str, Any] = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "machine": asdict(machine()),
    }
    try:
        facts["torch"] = _torch()
    except Exception as error:  # a torch that cannot be imported is a finding, not a failure of the doctor
        facts["torch_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps(facts), flush=True)
    os._exit(0)  # a broken driver may hang at exit


def _torch() -> dict[str, Any]:
    import torch

    available = torch.cuda.is_available()
    cudnn, cudnn_error = _cudnn(torch)
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda or "",
        "hip": getattr(torch.version, "hip", None) or "",
        "cudnn": cudnn,
        "cudnn_error": cudnn_error,
        "cuda_works": available,
        "architectures": torch.cuda.get_arch_list() if available else [],
        "devices": [_device(torch, index) for index in range(torch.cuda.device_count() if available else 0)],
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "threads": torch.get_num_threads(),
    }


def _device(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
    }


def _cudnn(torch: Any) -> tuple[str, str]:
    """Version in use, and why it does not work if it does not."""
    try:
        number = torch.backends.cudnn.version()
    except RuntimeError as error:  # another version was found than torch was built with
        return "", str(error).splitlines()[0]
    if not number:
        return "", ""
    thousand = 10_000 if number >= 10_000 else 1_000  # 91002 is 9.10.2, 8902 is 8.9.2
    return f"{number // thousand}.{number % thousand // 100}.{number % 100}", ""
