"""Switches an optimizer to another of its kernels, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from weakref import ref

from hotlap.inside.closures import follow
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
    switched = _Switched(optimizer, kernel)
    host.call(lambda: switched.fuse(optimizer), switched.take_back)


class _Switched:
    """One optimizer that updates by another kernel, step by step as that one serves."""

    def __init__(self, optimizer: Any, kernel: Mapping[str, bool]) -> None:
        self._kernel = kernel
        self._own = _Own(optimizer, kernel)
        self._looks = _Looks()
        self._alive = ref(optimizer)  # scripts build one per fold, and theirs is the memory
        self._hooks = [
            optimizer.register_load_state_dict_post_hook(self._loaded),
            optimizer.register_state_dict_post_hook(lambda _, state: self._own.put_in(state["param_groups"])),
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def fuse(self, optimizer: Any) -> None:
        """Choose the kernel."""
        for options in (optimizer.defaults, *optimizer.param_groups):
            options.update(self._kernel)
        _move_steps(optimizer, fused=self._kernel.get("fused", False))

    def take_back(self) -> None:
        """Leave it as the script made it."""
        if (optimizer := self._alive()) is not None:
            self._own.put_back(optimizer)
        for hook in self._hooks:
            hook.remove()

    def _loaded(self, optimizer: Any) -> None:
        self._looks.forget()
        self.fuse(optimizer)

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        if not self._kernel.get("fused"):
            return None
        return follow(args, kwargs, self._look) or self._look()

    def _look(self) -> None:
        if (optimizer := self._alive()) is not None and not self._looks.serves(optimizer):
            self._own.put_back(optimizer)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._looks.lent:
            self.fuse(optimizer)


class _Own:
    """The options that the script gave."""

    def __init__(self, optimizer: Any, kernel: Mapping[str, bool]) -> None:
        self._defaults, *self._groups = (
            {name: options.get(name) for name in kernel} for options in (optimizer.defaults, *optimizer.param_groups)
        )

    def put_in(self, groups: Sequence[dict[str, Any]]) -> None:
        """Into these groups; one that was added later has the defaults."""
        for options, own in zip_longest(groups, self._groups[: len(groups)], fillvalue=self._defaults):
            options.update(own)

    def put_back(self, optimizer: Any) -> None:
        """Let it update as the script wrote it."""
        optimizer.defaults.update(self._defaults)
        self.put_in(optimizer.param_groups)
        _move_steps(optimizer, fused=any(own.get("fused") for own in (self._defaults, *self._groups)))


class _Looks:
    """Tells steps that a fused kernel cannot take, or would take wrong, and so are left to the script's own.

    It walks parameter, gradient and state in memory order, unchecked, and takes momentum of all parameters or of none.

    Attributes:
        lent: The step under way is such a one.
    """

    def __init__(self) -> None:
        self.lent = False
        self._known: object = None

    def serves(self, optimizer: Any) -> bool:
        """Whether the kernel takes the step that is about to be made."""
        groups = [[(p, p.grad) for p in group["params"]] for group in optimizer.param_groups]
        try:
            found = [(p.stride(), None if g is None else g.stride()) for group in groups for p, g in group]
        except RuntimeError:  # a sparse gradient has none
            found, self.lent, self._known = None, True, None
        if found != self._known:  # state follows its parameters, once it is there
            self.lent = not all(_fits(group, optimizer.state) for group in groups)
            self._known = None if self.lent else found
        return not self.lent

    def forget(self) -> None:
        """Look anew: state was loaded."""
        self._known = None


def _fits(group: list[tuple[Any, Any]], state: Mapping[Any, Any]) -> bool:
    moved: set[bool] = set()
    for p, gradient in group:
        if gradient is None:
            continue
        own = state.get(p, {})
        moved.add(own.get("momentum_buffer") is not None)
        if any(_lies(old) != _lies(p) for old in (gradient, *_like(p, own))):
            return False
    return len(moved) < 2


def _lies(tensor: Any) -> list[int]:
    """Its strides, but for those of dimensions that hold one element, which say nothing."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def _like(p: Any, state: Mapping[str, Any]) -> list[Any]:
    return [old for old in state.values() if hasattr(old, "stride") and old.shape == p.shape]


def _move_steps(optimizer: Any, *, fused: bool) -> None:
    """The fused kernel reads step counts where the parameter is; the others want them on the CPU."""
    if any(options.get("capturable") for options in optimizer.param_groups):
        return
    for p, state in optimizer.state.items():
        if "step" in state and p.is_cuda:
            state["step"] = state["step"].to(p.device if fused else "cpu")
