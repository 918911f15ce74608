"""A model that is trained in evaluation mode."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_MEANING = "dropout is off, and norms keep their statistics"


class EvaluationMode(Audit):
    """A model that is trained in evaluation mode.

    ## What it finds
    Updates of a model whose dropout and norms that keep statistics are all in evaluation mode.
    ## Why it costs
    It costs no time, but learning: dropout is off and norms use statistics that no longer change. After an evaluation
    without `model.train()` the rest of the training runs so.
    ## When it is right
    Fine-tuning with frozen statistics, from the first step on.
    ## Source
    torch.nn.Module.eval documentation; the usual first question when a loss changes after an evaluation.
    """

    id: ClassVar[str] = "evaluation-mode"
    area: ClassVar[str] = "model"
    needs: ClassVar[tuple[str, ...]] = ("modes",)
    misleads: ClassVar[bool] = True

    def judge(self, seen: Seen) -> Finding:
        """By the mode at the end of each step."""
        assert seen.modes is not None
        if not seen.modes.steps:
            return self.not_applicable("no part of the model computes otherwise in evaluation mode")
        if seen.modes.turned > 1:
            return self.fails(
                f"after an evaluation the training goes on in evaluation mode: {_MEANING}",
                "call model.train() at the start of each epoch",
                steps=seen.modes.turned,
            )
        if seen.modes.evaluating > 1:
            return self.informs(
                f"the model is trained in evaluation mode from the start: {_MEANING}",
                "call model.train() before the loop, unless that is meant",
                steps=seen.modes.evaluating,
            )
        return self.passes("the model is trained in training mode")
