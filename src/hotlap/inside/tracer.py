"""Time by module: forward by hooks on module calls, backward by hooks on the nodes of the autograd graph.

A module's own nodes are those whose sequence numbers were given while it was the innermost one under way. Every second
step is traced and the one between is left alone, so that what tracing costs is known; the hooks' own time is measured
and charged to nobody.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hotlap.inside.owners import ELSEWHERE, LOSS, Owners

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_C: Any = torch._C
_FORWARD, _BACKWARD = 0, 1


class Tracer:
    """Follows who is at work, in the steps for which it is switched on.

    Attributes:
        current: Place of the owner at work.
        phase: 0 in what leads to a backward, 1 in a backward.
        on_backward: Called when a backward is about to begin in a followed step.
        describing: Whether the calls of the step under way are taken down.
        ours_ns: The tracer's own time in the step, by phase.
    """

    def __init__(self, host: Host, recorder: Recorder, owners: Owners) -> None:
        self.owners = owners
        self.current = ELSEWHERE
        self.on_backward: list[Callable[[], None]] = []
        self.describing = False
        self.ours_ns = [0, 0]
        self._host = host
        self.phase = _FORWARD
        self._tape = recorder.tape
        self._last = 0
        self._spent: list[list[int]] = [[], []]
        self._stack: list[int] = []
        self._handles: list[Any] = []
        self._numbers: list[int] = []
        """Sequence numbers at which the owner changed, and the owner from there on."""
        self._owner_from: list[int] = []
        self._node_hooks: dict[int, Callable[[Any], None]] = {}
        self._trained: set[int] = set()
        self._on = False

    def install(self, *, whole: bool) -> None:
        """Be ready to be switched on.

        Args:
            whole: Follow roots as wholes, whose modules a compiled graph hides; no hook comes near a graph.
        """
        self._whole = whole
        if whole:
            self._host.roots.observe(self._around)
        self._host.wrap(torch.autograd, "_engine_run_backward", self._backward)
        self._host.call(lambda: None, self.stop)

    # -- on and off, between two steps

    def start(self) -> None:
        """Follow the next step."""
        self._on = True
        self.current = ELSEWHERE
        self._spent = [[0] * len(self.owners.rows), [0] * len(self.owners.rows)]
        self.ours_ns = [0, 0]
        self._stack.clear()
        self._numbers.clear()
        self._owner_from.clear()
        if not self._whole:
            hooks = nn.modules.module
            self._handles.append(hooks.register_module_forward_pre_hook(self._before))
            self._handles.append(hooks.register_module_forward_hook(self._after, always_call=True))
        self._last = perf_counter_ns()

    def stop(self) -> None:
        """Let the next step run as it is."""
        self._on = False
        while self._handles:
            self._handles.pop().remove()

    def keep(self) -> None:
        """Add the time of the step that was followed to its owners'."""
        for row, spent in zip(self.owners.rows, zip(*self._spent)):
            row.spent_ns = [a + b for a, b in zip(row.spent_ns, spent)]

    # -- forward

    def _before(self, module: nn.Module, args: Any) -> None:
        if not torch.compiler.is_compiling() and not self._tape.foreign:
            self._enter(module, args)

    def _after(self, module: nn.Module, args: Any, out: Any) -> None:
        if not torch.compiler.is_compiling() and not self._tape.foreign:
            self._leave()

    def _around(self, root: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        def followed(*args: Any, **kwargs: Any) -> Any:
            if not self._on or self._tape.foreign:
                return call(*args, **kwargs)
            self._enter(root, args)
            try:
                return call(*args, **kwargs)
            finally:
                self._leave()

        return followed

    def _enter(self, module: nn.Module, args: Any) -> None:
        at = self._charge()
        self._stack.append(self.current)
        place = self.owners.place(module)
        if len(self._stack) == 1 and place is None and next(module.parameters(), None) is not None:
            place = self.owners.add_root(module)
            for spent in self._spent:
                spent += [0] * (len(self.owners.rows) - len(spent))
        if self.phase == _FORWARD and self._is_apart(module):
            self._change(ELSEWHERE)
        elif place is not None:
            self._change(place)
            if self.describing:
                self.owners.describe(place, args)
        self._resume(at)

    def _is_apart(self, module: nn.Module) -> bool:
        """Whether this is part of a call that does not train: without gradients, or an evaluation with them."""
        if len(self._stack) > 1:
            return self.current == ELSEWHERE
        if module.training:
            self._trained.add(id(module))
        return not torch.is_grad_enabled() or (not module.training and id(module) in self._trained)

    def _leave(self) -> None:
        at = self._charge()
        before = self._stack.pop() if self._stack else ELSEWHERE
        # What follows the model's answer is the loss, up to the backward.
        self._change(LOSS if not self._stack and self.phase == _FORWARD and self.current != ELSEWHERE else before)
        self._resume(at)

    # -- backward

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _engine_run_backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._on or self._tape.foreign:
                return original(outputs, *args, **kwargs)
            at, before, phase = self._charge(), (self.current, self._stack), self.phase
            self._stack = []
            for act in self.on_backward:
                act()
            handles = self._hook_nodes(outputs)
            self.phase, self.current = _BACKWARD, LOSS
            self._resume(at)
            try:
                return original(outputs, *args, **kwargs)
            finally:
                at = self._charge()
                for handle in handles:
                    handle.remove()
                (self.current, self._stack), inner = before, self.phase
                if phase == _FORWARD:
                    self.current = ELSEWHERE
                self.phase = phase
                self._last = perf_counter_ns()
                self.ours_ns[inner] += self._last - at

        return _engine_run_backward

    def _hook_nodes(self, outputs: Any) -> list[Any]:
        """A hook before each node that is not the end of a branch: what a branch ends with belongs to who fed it."""
        waiting = [t.grad_fn for t in outputs if isinstance(t, torch.Tensor) and t.grad_fn is not None]
        seen, handles = set(waiting), []
        while waiting:
            node = waiting.pop()
            following = [before for before, _ in node.next_functions if before is not None and before not in seen]
            seen.update(following)
            waiting += following
            if node.next_functions:
                handles.append(node.register_prehook(self._node_hook(self._owner_of(node))))
        return handles

    def _owner_of(self, node: Any) -> int:
        place = bisect_right(self._numbers, node._sequence_nr()) - 1
        owner = self._owner_from[place] if place >= 0 else LOSS
        return LOSS if owner == ELSEWHERE else owner

    def _node_hook(self, owner: int) -> Callable[[Any], None]:
        known = self._node_hooks.get(owner)
        if known is not None:
            return known

        def hook(gradients: Any) -> None:
            at = perf_counter_ns()
            self._spent[self.phase][self.current] += at - self._last
            self.current = owner
            self._last = perf_counter_ns()
            self.ours_ns[self.phase] += self._last - at

        self._node_hooks[owner] = hook
        return hook

    # -- the clock

    def _charge(self) -> int:
        """Charge the time up to now to who was at work."""
        at = perf_counter_ns()
        self._spent[self.phase][self.current] += at - self._last
        return at

    def _change(self, owner: int) -> None:
        self.current = owner
        self._numbers.append(_C._autograd._get_sequence_nr())
        self._owner_from.append(owner)

    def _resume(self, at: int) -> None:
        """The time since then was the tracer's own."""
        self._last = perf_counter_ns()
        self.ours_ns[self.phase] += self._last - at
