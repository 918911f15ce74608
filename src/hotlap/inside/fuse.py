"""Switches an optimizer to another of its kernels, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from hotlap.inside.roots import class_name

if TYPE_CHECKING:
    from hotlap.inside.host import Host


def switch(optimizer: Any, classes: Collection[str], kernel: Mapping[str, bool], host: Host) -> None:
    """Let it update by that kernel from now on, whatever is loaded; it saves the options that the script gave.

    Args:
        optimizer: Left alone where the kernel cannot serve it.
        classes: Names of those that have the kernel.
        kernel: The options that choose it.
        host: Takes it back.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if class_name(optimizer) not in classes or any(p.grad is not None and p.grad.is_sparse for p in parameters):
        return
    if not all(p.is_floating_point() for p in parameters):
        return
    written = [{name: options.get(name) for name in kernel} for options in _all_options(optimizer)]

    def fuse(optimizer: Any) -> None:
        for options in _all_options(optimizer):
            options.update(kernel)
        _move_steps(optimizer, fused=kernel.get("fused", False))

    def saved(_: Any, state_dict: Any) -> None:
        for options, old in zip(state_dict["param_groups"], written[1:]):
            options.update(old)

    hooks = [optimizer.register_load_state_dict_post_hook(fuse), optimizer.register_state_dict_post_hook(saved)]
    alive = ref(optimizer)  # scripts build one per fold, and theirs is the memory

    def take_back() -> None:
        if (optimizer := alive()) is not None:
            for options, old in zip(_all_options(optimizer), written):
                options.update(old)
            _move_steps(optimizer, fused=any(old.get("fused") for old in written))
        for hook in hooks:
            hook.remove()

    host.call(lambda: fuse(optimizer), take_back)


def _all_options(optimizer: Any) -> list[dict[str, Any]]:
    return [optimizer.defaults, *optimizer.param_groups]


def _move_steps(optimizer: Any, *, fused: bool) -> None:
    """The fused kernel reads step counts where the parameter is; the others want them on the CPU."""
    if any(options.get("capturable") for options in optimizer.param_groups):
        return
    for p, state in optimizer.state.items():
        if "step" in state and p.is_cuda:
            state["step"] = state["step"].to(p.device if fused else "cpu")
