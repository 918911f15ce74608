"""Activation checkpointing of the blocks that a model repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Goal, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host

_EVERY = (1, 2, 4)
_MOST = 64


class CheckpointModules(Knob):
    """Let the activations of repeated blocks go after the forward, and compute them again in the backward.

    ## What it changes
    Every N-th of the blocks that the model repeats (N is the value, 1 for all) runs under `torch.utils.checkpoint`, in
    training only: it keeps its inputs, and its forward runs again in the backward, with the same random numbers.
    Running statistics move once, as they did. Forward hooks of the script on what is in a block run twice.
    ## Why it can help
    What blocks keep for the backward grows with depth and batch, and is most of the memory of many trainings. The price
    is the forward of these blocks once more, up to a third of the step.
    ## When it cannot
    Models that repeat no block three times in one list, compiled models, steps whose memory is parameters and state, or
    a model so small that torch itself is most of it.
    ## Source
    torch.utils.checkpoint documentation (use_reentrant=False); Chen et al. 2016, "Training Deep Nets with Sublinear
    Memory Cost"; TorchTitan's selective checkpointing, which takes every N-th layer.
    """

    id: ClassVar[str] = "checkpoint-modules"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.FIRST_STEP
    allowed: ClassVar[tuple[Value, ...] | range] = range(1, _MOST + 1)
    conflicts: ClassVar[tuple[str, ...]] = ("compile",)
    goals: ClassVar[tuple[Goal, ...]] = (Goal.MEMORY,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """All of the blocks, or a part of them that costs less time."""
        if any(root.compiled for root in facts.roots):
            return Skip("the script compiles its model, and the compiler decides what is computed again")
        blocks = max((root.blocks for root in facts.roots), default=0)
        if not blocks:
            return Skip("the model repeats no block, whose activations could be let go together")
        if facts.habits.get("checkpoint"):
            return Skip("the script checkpoints activations already")
        return tuple(every for every in _EVERY if every <= blocks)

    def install(self, value: Value, host: Host) -> None:
        """Rewrite the call of each root that repeats blocks, inside autocast and layout."""
        from hotlap.inside import checkpoints

        host.rewrite_roots(lambda root, call: checkpoints.by_block(root, call, host, int(value)), order=5)
