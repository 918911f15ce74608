"""Compilation that the script asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class ScriptCompile(Knob):
    """Run as written what the script compiles.

    ## What it changes
    `torch.compiler.set_stance("force_eager")`: compiled functions and modules run without their compilation, names of
    parameters included. Sums may be taken in another order.
    ## Why it can help
    Compilation takes time that short trainings never earn back, shapes that change compile again and again, and some
    models are no faster for it.
    ## When it cannot
    Scripts that compile nothing.
    ## Source
    torch.compiler.set_stance documentation; pytorch#111180 and #119611 (slower when compiled).
    """

    id: ClassVar[str] = "script-compile"
    area: ClassVar[str] = "model"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.IMPORT
    allowed: ClassVar[tuple[Value, ...] | range] = (False,)

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """Off for scripts that compile a model."""
        compiles = any(root.compiled for root in facts.roots)
        return (False,) if compiles else Skip("the script compiles no model itself")

    def install(self, value: Value, host: Host) -> None:
        """Change the stance, which the script may compile under as much as it likes."""
        import torch

        stance = torch.compiler.set_stance
        host.call(lambda: stance("force_eager"), lambda: stance("default"))
