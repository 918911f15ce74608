"""The optimizer as the script sees it: of its own class, with its own groups, whatever does the update behind it.

An object becomes a facade while its constructor runs, so any import style, any subclass and any third-party class is
reached, `isinstance` stays true, and what is pickled names the script's class alone.
"""

from __future__ import annotations

import copyreg
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet, ref

import torch

from hotlap.inside.race import refusals
from hotlap.inside.race.averages import Averaging
from hotlap.inside.race.batch import BatchSize
from hotlap.inside.race.engines import class_of, unhooked
from hotlap.inside.race.epoch import Batches
from hotlap.inside.race.refusals import RefusalError
from hotlap.inside.race.swap import Swap
from hotlap.knobs import OPTIMIZER_RULE
from hotlap.race.arm import Arm
from hotlap.race.rules import RULES, SCRIPT

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_BLANK: Any = vars(copyreg)["_reconstructor"]  # how protocol 0 makes an object without its constructor
_AMP = "_step_supports_amp_scaling"
_OF_TORCH = [
    kind for kind in vars(torch.optim).values() if isinstance(kind, type) and kind is not torch.optim.Optimizer
]
"""Rules that a script's class may extend."""


class Facade:
    """Goes before the script's class in the order of resolution."""

    _swap: Swap

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Only the script's own step may unscale by itself; else an overflow would leave half an update."""
        own = getattr(self._swap.original, _AMP, False)
        return self._swap.is_plain and vars(self).get(_AMP, own)

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        vars(self)[_AMP] = value

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """The script's call; its own step stays open to compilation."""
        swap = self._swap
        if swap.is_plain:
            return unhooked(swap.original)(self, *args, **kwargs)
        return cast(Any, swap).step(self, args, kwargs)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """One more group; engines that were built without it are built again."""
        super().add_param_group(param_group)  # type: ignore[misc]
        self._swap.forget_engines()

    def state_dict(self) -> dict[str, Any]:
        """With the rule that the state is of, unless all is the script's own."""
        self._swap.restore(self)
        saved: dict[str, Any] = super().state_dict()  # type: ignore[misc]
        return saved if self._swap.is_plain else self._swap.packed(saved)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The state of another rule is left out, loudly."""
        plain = self._swap.is_plain
        super().load_state_dict(state_dict if plain else self._swap.unpacked(state_dict))  # type: ignore[misc]
        self._swap.loaded(self)

    def __getstate__(self) -> dict[str, Any]:
        self._swap.restore(self)
        state: dict[str, Any] = super().__getstate__()  # type: ignore[misc]
        return state if self._swap.is_plain else self._swap.packed(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The script's class must not look into a state that is not its own."""
        if not self._swap.keeps_own_state and "state" in state:
            self._swap.keep(state["state"])
            state = {**state, "state": defaultdict(dict)}
        super().__setstate__(state)  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As an object of the script's class, which any process can load."""
        return _BLANK, (self._swap.original, object, None), self.__getstate__()


@cache
def facade_of(original: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The class of the facades of a class, under its name."""
    names = {"__module__": original.__module__, "__qualname__": original.__qualname__, "__doc__": original.__doc__}
    return cast(Any, type(original))(original.__name__, (Facade, original), names)


class Swaps:
    """Every swapped optimizer of the process."""

    def __init__(self, arm: Arm, host: Host) -> None:
        self.arm = arm
        self.is_bare = arm == Arm(SCRIPT)
        """The script's own steps serve: nothing is changed."""
        self.batches = Batches()
        self.averaging = Averaging()
        self.batch_size = BatchSize(arm, host)
        self._host = host
        self._working = False
        self._alive: WeakSet[Any] = WeakSet()
        self._stepped: WeakSet[Any] = WeakSet()
        self._last: Callable[[], Any] = lambda: None
        self._said: set[str] = set()

    def install(self) -> None:
        """Let every optimizer that is built from now on become a facade."""
        host, rule = self._host, RULES.get(self.arm.rule)
        try:
            if rule is not None:
                class_of(rule.id)
        except RefusalError as refusal:
            self.refuse(str(refusal))
            return
        host.wrap(torch.optim.Optimizer, "__init__", self._becoming)
        host.wrap(torch.optim.Optimizer, "__setstate__", self._loading)
        if self.arm.batch:
            self.batch_size.install()
        if self.arm.rule == "gradient-descent":
            host.loaders.serve(self.batches.handed)
        if rule is not None and rule.schedule_free:
            self.averaging.install(host)

    def _becoming(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            becomes = not self._working and self._become(optimizer)
            original(optimizer, *args, **kwargs)
            if becomes:
                self._host.guarded("the watch on the network's layers", lambda: optimizer._swap.built(optimizer))

        return __init__

    def _loading(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def __setstate__(optimizer: Any, state: dict[str, Any]) -> None:  # noqa: N807
            becomes = not self._working and not isinstance(optimizer, Facade) and self._become(optimizer)
            if becomes and not optimizer._swap.is_plain and "state" in state:
                state = optimizer._swap.unpacked(state)
                if not optimizer._swap.keeps_own_state:
                    optimizer._swap.keep(state["state"])
                    state = {**state, "state": defaultdict(dict)}
            original(optimizer, state)

        return __setstate__

    def _become(self, optimizer: Any) -> bool:
        kind = type(optimizer)
        if isinstance(optimizer, Facade):  # its constructor is called again
            return False
        try:
            self._host.become(optimizer, facade_of(kind))
        except Exception as error:
            self.refuse(f"{kind.__name__} cannot be given another class ({error})")
            return False
        optimizer._swap = Swap(self, kind)
        self._alive.add(optimizer)
        return True

    @contextmanager
    def own_work(self) -> Generator[None, None, None]:
        """Optimizers that are built meanwhile are engines."""
        self._working = True
        try:
            yield
        finally:
            self._working = False

    @property
    def compiles(self) -> bool:
        """Whether the script compiles modules, which a hook that comes and goes would have compiled again."""
        return bool(self._host.roots.user_compiled)

    def is_held(self, optimizer: Any) -> bool:
        """Whether another optimizer has this one for a part."""
        return any(value is optimizer for other in self._alive for value in vars(other).values())

    def note_step(self, optimizer: Any) -> None:
        """An optimizer is about to step: one that comes back after another one had its turn is one of several."""
        if self._last() is optimizer:
            return
        if optimizer in self._stepped:
            self._say(refusals.SEVERAL)
        self._stepped.add(optimizer)
        self._last = ref(optimizer)

    def _say(self, clause: str) -> None:
        """Weights were updated already: a trial is void, and a training goes on with all of them swapped."""
        if clause in self._said:
            return
        self._said.add(clause)
        if self._host.task["purpose"] == "run":
            self._host.remark(f"{clause}: each of them is")
        else:
            self._host.failed(OPTIMIZER_RULE, clause)

    def refuse(self, clause: str) -> None:
        """The script's own step serves, and this is said once."""
        if clause not in self._said:
            self._said.add(clause)
            self._host.failed(OPTIMIZER_RULE, clause)

    def say_own_step(self, original: type[torch.optim.Optimizer]) -> None:
        """A class of the script's own may do more in its step than the update that another rule takes the place of."""
        base = next(base for base in original.__mro__ if "step" in vars(base))
        extends = any(issubclass(base, kind) and base is not kind for kind in _OF_TORCH)
        if extends and not base.__module__.startswith("torch.") and base.__qualname__ not in self._said:
            self._said.add(base.__qualname__)
            self._host.remark(f"what {base.__qualname__}.step does besides its update is left out under another rule")

    def say_foreign(self) -> None:
        """A checkpoint of another rule was loaded."""
        self._host.remark(
            f"the checkpoint's optimizer state is not of the rule {self.arm.rule}, which starts without any"
        )
