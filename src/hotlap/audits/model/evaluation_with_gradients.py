"""Evaluation that keeps a graph nobody uses."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class EvaluationWithGradients(Audit):
    """Evaluation that keeps a graph nobody uses.

    ## What it finds
    A model in evaluation mode that is called with gradients on.
    ## Why it costs
    Every activation is kept for a backward that never comes: memory, and some time.
    ## When it is right
    A backward through a model in evaluation mode: adversarial examples, a frozen part.
    ## Source
    PyTorch performance tuning guide, "Disable gradient calculation for validation or inference".
    """

    id: ClassVar[str] = "evaluation-with-gradients"
    area: ClassVar[str] = "model"

    def judge(self, seen: Seen) -> Finding:
        """By the modes in which the script calls its models."""
        roots = seen.facts.roots
        calls = [call for root in roots for call in root.signatures]
        if not any(not call.training for call in calls):
            return self.not_applicable("no model is called in evaluation mode")
        trained = any(call.training and call.grad for call in calls)
        if trained and any(not call.training and call.grad for call in calls):
            return self.fails(
                "a model is evaluated with gradients on", "put the evaluation under torch.no_grad() or inference_mode()"
            )
        return self.passes("models are evaluated without gradients")
