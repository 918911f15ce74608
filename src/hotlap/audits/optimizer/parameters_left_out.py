"""Parameters that nobody updates."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.audits.judge import few
from hotlap.records import Finding
from hotlap.records.seen import Seen


class ParametersLeftOut(Audit):
    """Parameters that nobody updates.

    ## What it finds
    Trainable parameters of a model that is trained, which no optimizer owns; and whether the optimizer owns stale ones
    instead, which the model had before a layer was exchanged (`model.fc = nn.Linear(...)`) or made anew, by `.to()` too
    where torch is told to (`torch.__future__.set_overwrite_module_params_on_conversion`); by itself it keeps them.
    ## Why it costs
    Their gradients are computed in every step and never used; the layer stays as it was drawn.
    ## When it is right
    A part that is frozen: say so with requires_grad_(False), which saves its gradients too.
    ## Source
    Modules that are kept in a plain list, or that are replaced after the optimizer was built.
    """

    id: ClassVar[str] = "parameters-left-out"
    area: ClassVar[str] = "optimizer"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("structure",)

    def judge(self, seen: Seen) -> Finding:
        """By comparing what models have with what optimizers own."""
        assert seen.structure is not None
        names, strangers = seen.structure.in_no_optimizer, seen.structure.of_no_module
        if not names:
            return self.passes("every trainable parameter has an optimizer")
        stale = f", and {strangers} parameters that an optimizer owns are of no model any more" if strangers else ""
        return self.fails(
            f"no optimizer owns {few(names)}{stale}",
            "build the optimizer after the model is complete and where it belongs; freeze what is not to be trained",
            parameters=len(names),
            of_no_module=strangers,
        )
