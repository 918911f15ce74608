"""torch.compile on the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

GRAPHS, _TUNED = "reduce-overhead", "max-autotune-no-cudagraphs"
_MODES = (GRAPHS, _TUNED)  # of CUDA
_STARTS_S, _TUNED_S = 25.0, 240.0  # seen: 19 to 35 s on a CPU and on a GPU; over 230 s where kernels are tried out
_MANY = 4  # shapes; each is compiled by itself


class Compile(Knob):
    """Compile the model's training forward and backward with torch.compile.

    ## What it changes
    Every module that the script calls is compiled, in place and for training only; parameter names stay as they are.
    `blocks` compiles one of the blocks that the model repeats, for all; `dynamic` serves every shape with one graph. On
    CUDA `reduce-overhead` also replays the kernels as one graph, and `max-autotune-no-cudagraphs` tries kernels out.
    ## Why it can help
    Element-wise operations and norms are fused, so that memory is read and written less often; a graph spares the host
    its launches.
    ## When it cannot
    No C++ compiler (on a CPU), large matrix products that leave nothing to fuse, shapes that keep changing, short
    trainings that never repay the compilation; scripts whose code differentiates gradients, be it in a later step.
    ## Source
    torch.compile documentation. Some graphs get wrong gradients (pytorch#185509, #182012), which is why every shape is
    verified and others run as written.
    """

    id: ClassVar[str] = "compile"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    allowed: ClassVar[tuple[Value, ...] | range] = (True, "blocks", "dynamic", *_MODES)
    conflicts: ClassVar[tuple[str, ...]] = ("checkpoint-modules", "offload-activations")
    fixes: ClassVar[tuple[str, ...]] = ("model", "hardware")  # switching them would compile anew

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for models not compiled yet, where a compiler is; on CUDA with graphs first, which hold all else."""
        if not facts.roots:
            return Skip("the script calls no module that could be found again")
        if all(root.compiled for root in facts.roots):
            return Skip("the script compiles its model already")
        if facts.differentiates_twice:
            return Skip("the script differentiates gradients (create_graph=True), which no compiled graph allows")
        if not facts.is_cuda and not facts.machine.compiler:
            return Skip("there is no C++ compiler, which torch.compile needs on a CPU")
        shapes = {call.shapes for root in facts.roots for call in root.signatures if call.training}
        blocks: tuple[Value, ...] = ("blocks",) if any(root.blocks for root in facts.roots) else ()
        if len(shapes) > _MANY:
            return ("dynamic", *blocks, *(_MODES if facts.is_cuda else ()))
        return (GRAPHS, True, *blocks, _TUNED) if facts.is_cuda else (True, *blocks)

    def starts_s(self, value: Value) -> float:
        """To compile; far longer where kernels are tried out."""
        return _TUNED_S if value == _TUNED else _STARTS_S

    def install(self, value: Value, host: Host) -> None:
        """Compile each root's call as a plain function, at its first training call."""
        from hotlap.inside import compilation

        if value == "blocks":
            host.rewrite_roots(lambda root, call: compilation.by_block(root, call, host), order=0)
            return
        mode, dynamic = str(value) if value in _MODES else None, value == "dynamic"
        host.rewrite_roots(lambda root, call: compilation.whole(root, call, host, mode, dynamic), order=0)
