"""Debugging switches that were left on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, ClassVar

import torch

from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Switches

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_VARIABLES = (
    *("CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING", "TORCH_COMPILE_DEBUG", "MALLOC_PERTURB_"),
    *("TORCH_SHOW_DISPATCH_TRACE", "ONEDNN_VERBOSE", "MKL_VERBOSE"),
)
_OFF = ("", "0")


class SwitchesProbe(Probe):
    """Reads flags of torch and of Python, and environment variables."""

    id: ClassVar[str] = "switches"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Read them during training: scripts switch them on after they have imported torch."""

        def read(done: int) -> None:
            if done == LOOKED_AT_STEP:
                recorder.on_end.remove(read)
                self.see(host, Switches(_on()))

        read = self.guarded(host, read)
        recorder.on_end.append(read)


def _on() -> dict[str, str]:
    flags = {
        "torch.autograd.set_detect_anomaly": torch.is_anomaly_enabled(),
        "a profiler": torch.autograd.profiler._is_profiler_enabled,
        "python -X dev": sys.flags.dev_mode,
        "sys.settrace": sys.gettrace() is not None,
    }
    distributed = os.environ.get("TORCH_DISTRIBUTED_DEBUG", "")
    on = {name: "on" for name, flag in flags.items() if flag}
    on |= {name: os.environ[name] for name in _VARIABLES if os.environ.get(name, "") not in _OFF}
    tf32_off = os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"  # of this one it is the zero that costs
    on |= {"NVIDIA_TF32_OVERRIDE": "0"} if tf32_off else {}
    return on | ({"TORCH_DISTRIBUTED_DEBUG": distributed} if distributed == "DETAIL" else {})
