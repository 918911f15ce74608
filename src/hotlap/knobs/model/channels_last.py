"""Channels-last memory layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.knobs.nest import follow_layout, mapped
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class ChannelsLast(Knob):
    """Keep images in memory pixel by pixel, as convolution kernels like them, instead of channel by channel.

    ## What it changes
    The memory order of 4-D weights (and of their optimizer state) at the first training call, and of 4-D inputs on
    each one. Shapes, values and parameter names stay; evaluation runs as written, on the weights as they lie.
    ## Why it can help
    Convolutions need no reordering before and after each layer.
    ## When it cannot
    Models without Conv2d; with Conv3d. Inside the model a `.view()` that the layout forbids copies.
    ## Source
    PyTorch's channels-last tutorial; pytorch#34977, #44943, #68101 (slower cases).
    """

    id: ClassVar[str] = "channels-last"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for models with two-dimensional convolutions."""
        names = {name for root in facts.roots for name in root.modules}
        if not names & {"Conv2d", "ConvTranspose2d"}:
            return Skip("no model of the script has a Conv2d")
        if names & {"Conv3d", "ConvTranspose3d"}:
            return Skip("a model has a Conv3d, whose weights have no such layout")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Convert weights and inputs where the roots are called, and optimizer state wherever it comes up."""
        import torch

        optimizers: list[Any] = []

        def laid(tensor: Any) -> Any:
            images = tensor.dim() == 4 and tensor.is_floating_point()
            return tensor.contiguous(memory_format=torch.channels_last) if images else tensor

        def layer(root: Any, call: Callable[..., Any]) -> Callable[..., Any]:
            def lay(layout: Any) -> None:
                root.to(memory_format=layout)
                follow_layout(*optimizers)

            host.call(lambda: lay(torch.channels_last), lambda: lay(torch.contiguous_format))
            return lambda *args, **kwargs: call(*mapped(args, laid), **mapped(kwargs, laid))

        def watch(optimizer: Any) -> None:
            optimizers.append(optimizer)
            follow_layout(optimizer)
            host.call(lambda: None, optimizer.register_load_state_dict_post_hook(follow_layout).remove)

        host.rewrite_roots(layer, order=20)
        host.allow_copying_views()
        host.pack_what_is_saved()
        host.before_first_step(watch)

    def switches(self, facts: Facts) -> bool:
        """Weights and state are laid back."""
        return True
