"""Roots: the modules that the script itself calls, and what their calls go through.

A root is found by class and order of construction, so no global hook is needed once it is known. Its call is replaced
through `_compiled_call_impl`, which lies outside any graph and is dropped on pickling and deep copies; assigning
`Module.compile()` instead would be a silent no-op for `nn.Sequential`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import torch
from torch import nn

from hotlap.inside.calls import Frozen, Signed, signature

if TYPE_CHECKING:
    from hotlap.inside.host import Host

Call = Callable[..., Any]
Layer = Callable[[nn.Module, Call], Call]
Key = tuple[str, int]


def class_name(thing: object) -> str:
    """Qualified class name, `module:Class`."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


class Keys:
    """The key of each module that lives, by identity: modules may hash as they like, and not before they are built."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[nn.Module], Key]] = {}

    def put(self, module: nn.Module, key: Key) -> None:
        """Remember a module until it is gone."""
        number = id(module)

        def forget(gone: ref[nn.Module]) -> None:
            if number in self._known and self._known[number][0] is gone:
                del self._known[number]

        self._known[number] = (ref(module, forget), key)

    def get(self, module: nn.Module) -> Key | None:
        """The module's key; None when its construction was not seen."""
        known = self._known.get(id(module))
        return known[1] if known and known[0]() is module else None


class Wanted(NamedTuple):
    """What is known of a root whose calls are to be routed."""

    served: frozenset[Any] | None = None
    """Call signatures that rewritten calls may serve; None for all."""
    parameter_shapes: list[tuple[int, ...]] | None = None
    """Of the module that was verified; None for any."""

    def is_like(self, module: nn.Module) -> bool:
        """Whether it has the parameters of the module that was verified."""
        return self.parameter_shapes is None or self.parameter_shapes == [tuple(p.shape) for p in module.parameters()]


class Routed(partial[Any]):
    """The call of one root. A class of the script's may copy or pickle its whole `__dict__`: this is then left out."""

    def __reduce__(self) -> Any:
        """A copy is None, which is what a module without a call of its own has."""
        return type(None), ()


class Switched:
    """The call of one root in a process whose settings come and go."""

    def __init__(self, module: nn.Module, wanted: Wanted, compiled: Call | None) -> None:
        self.module = module
        self.wanted = wanted
        self.compiled = compiled
        self.call: Call = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the settings of the moment have it."""
        return self.call(*args, **kwargs)


class Roots:
    """Finds the wanted roots as they are built and routes their calls."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._counts: Counter[str] = Counter()
        self._wanted: dict[Key, Wanted] = {}
        self._rewrites: list[tuple[int, Layer]] = []
        self._observers: list[Layer] = []
        self._passing: list[Layer] = []
        """Observers that came after the roots, with a setting that goes again."""
        self._switched: list[Switched] = []
        self._installed = False
        self.keys = Keys()
        self.user_compiled: set[int] = set()
        self.attached: list[nn.Module] = []

    def install(self, wanted: dict[Key, Wanted]) -> None:
        """Watch constructions.

        Args:
            wanted: Each root by class name and index, with what is known of it.
        """
        self._wanted = wanted
        self._installed = True
        self._host.wrap(nn.Module, "__init__", self._construct)
        self._host.wrap(nn.Module, "compile", self._compile)
        self._host.wrap(nn.Module, "__setstate__", _clear_copy)
        self._host.wrap(nn.Module, "_replicate_for_data_parallel", _clear_replica)

    def rewrite(self, layer: Layer, order: int) -> None:
        """See `Host.rewrite_roots`."""
        self._rewrites.append((order, layer))
        self._rewrites.sort(key=lambda item: item[0])
        self._switch()

    def unwrite(self, layer: Layer) -> None:
        """Take a layer of `rewrite` out again."""
        self._rewrites = [known for known in self._rewrites if known[1] is not layer]
        self._switch()

    def observe(self, layer: Layer) -> None:
        """Put a layer around every call of a root, training or not, outside all rewritten ones."""
        (self._passing if self._installed else self._observers).append(layer)
        self._switch()

    def unobserve(self, layer: Layer) -> None:
        """Take a layer of `observe` out again."""
        for layers in (self._observers, self._passing):
            if layer in layers:
                layers.remove(layer)
        self._switch()

    def _switch(self) -> None:
        """Let the roots of an interleaved trial be called as the settings are now."""
        for switched in self._switched:
            module = switched.module
            call = self._inner(module, switched.wanted, switched.compiled)
            for layer in self._passing:
                call = layer(module, call)
            switched.call = call

    def _construct(self, original: Call) -> Call:
        def __init__(module: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(module, *args, **kwargs)
            name = class_name(module)
            key = (name, self._counts[name])
            self._counts[name] += 1
            self.keys.put(module, key)
            if key in self._wanted:
                self._attach(module, self._wanted[key])
                self.attached.append(module)

        return __init__

    def _compile(self, original: Call) -> Call:
        def compile(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            attached = isinstance(vars(module).get("_compiled_call_impl"), Routed)
            original(module, *args, **kwargs)
            self.user_compiled.add(id(module))
            key = self.keys.get(module)
            if attached and key is not None:  # ours goes around the user's compiled call
                self._attach(module, self._wanted[key], vars(module)["_compiled_call_impl"])

        return compile

    def _attach(self, module: nn.Module, wanted: Wanted, compiled: Call | None = None) -> None:
        call = self._inner(module, wanted, compiled)
        if self._host.task.get("arms"):
            call = Switched(module, wanted, compiled)
            self._switched.append(call)
            self._switch()
        for layer in self._observers:
            call = layer(module, call)
        self._host.set(module, "_compiled_call_impl", Routed(call))

    def _inner(self, module: nn.Module, wanted: Wanted, compiled: Call | None) -> Call:
        return self._route(module, wanted, compiled) if self._rewrites else compiled or module._call_impl

    def _route(self, module: nn.Module, wanted: Wanted, compiled: Call | None) -> Call:
        """The call that is rewritten for verified training calls, and as the script wrote it for all others."""

        # torch.compile must see a plain function: Dynamo exempts Module._call_impl itself.
        def own(*args: Any, **kwargs: Any) -> Any:
            return module._call_impl(*args, **kwargs)

        core = compiled or own
        rewritten: list[Call] = []
        frozen = Frozen(module)

        def signed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signed:
            try:
                return signature(args, kwargs, frozen())
            except Exception as error:  # a batch of a class of its own does what it likes when it is looked at
                return (), (), (f"{type(error).__name__}: {error}",)

        def route(*args: Any, **kwargs: Any) -> Any:
            if module.training and torch.is_grad_enabled():
                if wanted.served is not None and (call := signed(args, kwargs)) not in wanted.served:
                    self._say_as_written(module, call)
                    return core(*args, **kwargs)
                if rewritten:
                    return rewritten[0](*args, **kwargs)
                if not wanted.is_like(module):
                    rewritten.append(core)
                    self._host.remark(f"{class_name(module)} has other parameters than in the plan: it runs as written")
                    return core(*args, **kwargs)
                return self._first(module, rewritten, core, args, kwargs)
            return core(*args, **kwargs)

        return route

    def _first(self, module: nn.Module, rewritten: list[Call], core: Call, args: Any, kwargs: Any) -> Any:
        """The first rewritten call; if it fails in the real training, the script's own call serves from then on."""
        try:
            call = core
            for _, layer in self._rewrites:
                call = layer(module, call)
            out = call(*args, **kwargs)
        except Exception as error:
            if self._host.task["purpose"] != "run":
                raise  # a trial is there to find this out
            self._host.failed("a setting of the model", f"{type(error).__name__}: {error}")
            call = core
            out = core(*args, **kwargs)
        rewritten.append(call)
        return out

    def _say_as_written(self, module: nn.Module, call: Signed) -> None:
        """A call that was not verified runs as the script wrote it; this is said once."""
        if getattr(self, "_said", False):
            return
        self._said = True
        shapes, _, manner = call
        how = f"{shapes} ({', '.join(manner)})" if manner else f"{shapes}"
        name = class_name(module)
        self._host.remark(f"{name} was called with {how}, which tuning did not verify: such calls run as written")


def _clear_copy(original: Call) -> Call:
    def __setstate__(module: nn.Module, state: Any) -> None:  # noqa: N807
        if isinstance(state, dict) and isinstance(state.get("_compiled_call_impl"), Routed):
            state = {name: value for name, value in state.items() if name != "_compiled_call_impl"}
        original(module, state)

    return __setstate__


def _clear_replica(original: Call) -> Call:
    def _replicate_for_data_parallel(module: nn.Module) -> Any:
        replica = original(module)
        if isinstance(vars(replica).get("_compiled_call_impl"), Routed):
            del vars(replica)["_compiled_call_impl"]  # it would call the module that was copied
        return replica

    return _replicate_for_data_parallel
