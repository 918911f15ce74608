"""torch.compile on the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class Compile(Knob):
    """Compile the model's training forward and backward with torch.compile.

    ## What it changes
    Every module that the script calls is compiled, in place and for training only; parameter names stay as they are.
    ## Why it can help
    Element-wise operations and norms are fused, so that memory is read and written less often.
    ## When it cannot
    No C++ compiler (on a CPU), large matrix products that leave nothing to fuse, shapes that keep changing, short
    trainings that never repay the compilation.
    ## Source
    torch.compile documentation. Some graphs get wrong gradients (pytorch#185509, #182012), which is why every shape is
    verified and others run as written.
    """

    id: ClassVar[str] = "compile"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    fixes: ClassVar[tuple[str, ...]] = ("model", "hardware")  # switching them would compile anew

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for models that are not compiled yet, where a compiler is."""
        if not facts.roots:
            return Skip("the script calls no module that could be found again")
        if all(root.compiled for root in facts.roots):
            return Skip("the script compiles its model already")
        if not facts.is_cuda and not facts.machine.compiler:
            return Skip("there is no C++ compiler, which torch.compile needs on a CPU")
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Compile each root's call as a plain function, at its first training call."""
        host.rewrite_roots(lambda root, call: _compiled(root, call, host), order=0)


def _compiled(root: Any, call: Callable[..., Any], host: Host) -> Callable[..., Any]:
    import torch
    from torch._dynamo.utils import counters

    compiled = torch.compile(call)
    checked: list[bool] = []

    def compiled_call(*args: Any, **kwargs: Any) -> Any:
        out = compiled(*args, **kwargs)
        if not checked:
            checked.append(True)
            if not counters["stats"]["unique_graphs"]:
                host.failed("compile", f"no graph of {type(root).__name__} was compiled")
        return out

    return compiled_call
