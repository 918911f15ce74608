"""A softmax before a loss that takes one itself."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class DoubleSoftmax(Audit):
    """A softmax before a loss that takes one itself.

    ## What it finds
    `CrossEntropyLoss` on what a Softmax or Sigmoid has squashed already, or a log-softmax has made logarithms of.
    ## Why it costs
    Gradients are many times smaller than they should be, and confident answers are out of reach: it learns, slowly.
    ## When it is right
    A second log-softmax after a first changes nothing but time; any other is a mistake.
    ## Source
    torch.nn.CrossEntropyLoss: the input is expected to contain the unnormalized logits.
    """

    id: ClassVar[str] = "double-softmax"
    area: ClassVar[str] = "model"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("loss",)

    def judge(self, seen: Seen) -> Finding:
        """By the graph from the loss back."""
        assert seen.loss is not None
        chain = seen.loss.chain
        if not chain or not chain[0].startswith(("NllLoss", "CrossEntropyLoss")):
            return self.not_applicable("the loss is no cross entropy")
        before = chain[2] if len(chain) > 2 and chain[1] == "LogSoftmax" else ""
        if before == "LogSoftmax":
            return self.informs(
                "a log-softmax comes before a cross entropy, which takes one itself and changes nothing by it",
                "give the loss the raw scores, or use NLLLoss: it saves the second one",
            )
        if before in ("Softmax", "Sigmoid"):
            return self.fails(
                f"{before.lower()} comes before a cross entropy, which takes a softmax itself",
                "give the loss the raw scores, and take the softmax only where probabilities are wanted",
            )
        return self.passes("the cross entropy is given scores that no softmax has squashed")
