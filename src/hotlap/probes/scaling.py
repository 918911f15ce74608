"""Autocast and the scaler of its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hotlap.inside.calls import tensors_in
from hotlap.probes.probe import LOOKED_AT_STEP, Probe, Roots
from hotlap.records.seen import Scaling

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class ScalingProbe(Probe):
    """Notes what autocast casts to in one step, and follows every enabled GradScaler."""

    id: ClassVar[str] = "scaling"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """From the start: a scaler finds its scale in the first steps."""
        dtypes: set[str] = set()
        asked, skipped, unknown = [0], [0], [False]

        def called(module: nn.Module, args: Any) -> None:
            if recorder.index != LOOKED_AT_STEP or not torch.is_grad_enabled():
                return
            for device in {tensor.device.type for tensor in tensors_in(args)}:
                if torch.is_autocast_enabled(device):
                    dtypes.add(str(torch.get_autocast_dtype(device))[6:])

        def scaled(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
                if not scaler.is_enabled():
                    return original(scaler, optimizer, *args, **kwargs)
                stepped: list[Any] = []
                started = stepped.append
                recorder.on_optimizer_start.append(started)
                try:
                    return original(scaler, optimizer, *args, **kwargs)
                finally:
                    recorder.on_optimizer_start.remove(started)
                    asked[0] += 1
                    skipped[0] += not stepped
                    unknown[0] |= getattr(optimizer, "_step_supports_amp_scaling", False)

            return step

        def close() -> None:
            self.see(host, Scaling(tuple(sorted(dtypes)), asked[0], None if unknown[0] else skipped[0]))

        handle = nn.modules.module.register_module_forward_pre_hook(self.guarded(host, called))
        host.call(lambda: None, handle.remove)
        self.until_looked(recorder, handle.remove)
        host.wrap(torch.amp.GradScaler, "step", scaled)
        recorder.on_close.append(self.guarded(host, close))
