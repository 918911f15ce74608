"""Another update rule, or other settings of the script's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.race.arm import Arm
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class OptimizerRule(Knob):
    """Update the weights by another rule, or by the script's own with other settings.

    ## What it changes
    What the optimizer's step does: the rule, its learning rate, decay, momentum, schedule and clipping, as an arm of
    `hotlap race` names them: `muon lr=0.001 schedule=cosine horizon=1200`. The script's own optimizer object, its
    class, groups and schedulers stay as they are. Where the rule has a fused update and the script did not ask for
    another one, it serves. `script batch=128 of=64/...`, as `hotlap race --batch-sizes` finds it, makes the batches of
    the loader that trains another size, and the rate and the second beta follow.
    ## Why it can help
    Another rule, or another learning rate and horizon, can reach the same loss in fewer steps.
    ## When it cannot
    Optimizers that evaluate their closure several times (LBFGS), that wrap another one (SAM), several optimizers in
    turn (a GAN), sharded parameters, a compiled step. What is learned is never the same: `hotlap race` alone judges it.
    ## Source
    The rules: torch.optim and pytorch-optimizer. Roles of parameters: Keller Jordan, "Muon", 2024.
    """

    id: ClassVar[str] = "optimizer-rule"
    area: ClassVar[str] = "optimizer"
    contract: ClassVar[Contract] = Contract.RECIPE
    when: ClassVar[When] = When.IMPORT
    conflicts: ClassVar[tuple[str, ...]] = ("foreach-update", "fused-update")
    suggested_only: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """The race alone tries it."""
        if facts.manual_update:
            return Skip("the script updates its weights by hand, without an optimizer")
        return Skip("another rule learns otherwise: hotlap race tries it")

    def refuses(self, value: Value) -> str | None:
        """Any arm of a race that can be read."""
        try:
            Arm.parse(value if isinstance(value, str) else "")
        except ValueError as error:
            return str(error)
        return None

    def install(self, value: Value, host: Host) -> None:
        """Let each optimizer become a facade as it is built."""
        from hotlap.inside.race.facade import Swaps

        Swaps(Arm.parse(str(value)), host).install()
