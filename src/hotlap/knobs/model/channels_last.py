"""Channels-last memory layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class ChannelsLast(Knob):
    """Keep images in memory pixel by pixel, as convolution kernels like them, instead of channel by channel.

    ## What it changes
    The memory order of 4-D weights (and of their optimizer state) at the first training call, and of 4-D inputs on
    each one. Shapes, values and parameter names stay; evaluation runs as written, on the weights as they lie.
    ## Why it can help
    Convolutions then need no reordering before and after each layer.
    ## When it cannot
    Models without Conv2d; with Conv3d; code that calls `.view()` on a convolution's output or a weight, which fails.
    ## Source
    PyTorch's channels-last tutorial; pytorch#34977, #44943, #68101 (slower cases).
    """

    id: ClassVar[str] = "channels-last"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for models with two-dimensional convolutions."""
        counts = [root.modules for root in facts.roots]
        if not any("Conv2d" in c or "ConvTranspose2d" in c for c in counts):
            return Skip("no model of the script has a Conv2d")
        if any("Conv3d" in c or "ConvTranspose3d" in c for c in counts):
            return Skip("a model has a Conv3d, whose weights have no such layout")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Convert weights and inputs where the roots are called, and optimizer state wherever it comes up."""
        optimizers: list[Any] = []

        def layer(root: Any, call: Callable[..., Any]) -> Callable[..., Any]:
            import torch

            def lay(layout: Any) -> None:
                root.to(memory_format=layout)
                _follow(*optimizers)

            host.call(lambda: lay(torch.channels_last), lambda: lay(torch.contiguous_format))
            return lambda *args, **kwargs: call(*_laid(args, torch.channels_last), **_laid(kwargs, torch.channels_last))

        def watch(optimizer: Any) -> None:
            optimizers.append(optimizer)
            _follow(optimizer)
            host.call(lambda: None, optimizer.register_load_state_dict_post_hook(_follow).remove)

        host.rewrite_roots(layer, order=20)
        host.before_first_step(watch)


def _laid(value: Any, layout: Any) -> Any:
    """The same nest with 4-D floating tensors in this layout; other objects are passed on as they are."""
    if hasattr(value, "is_floating_point"):
        return value.contiguous(memory_format=layout) if value.dim() == 4 and value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)([_laid(item, layout) for item in value])
    return {key: _laid(item, layout) for key, item in value.items()} if type(value) is dict else value


def _follow(*optimizers: Any) -> None:
    """Lay state out as its parameters lie: the CPU's fused update kernels walk both in memory order, unchecked."""
    for parameter, state in (pair for optimizer in optimizers for pair in optimizer.state.items()):
        for key, old in state.items() if isinstance(state, dict) else ():
            if hasattr(old, "stride") and old.shape == parameter.shape and old.stride() != parameter.stride():
                state[key] = parameter.detach().to(old.dtype, copy=True).copy_(old)
