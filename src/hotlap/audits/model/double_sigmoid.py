"""A sigmoid before a loss that takes one itself."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen


class DoubleSigmoid(Audit):
    """A sigmoid before a loss that takes one itself.

    ## What it finds
    `BCEWithLogitsLoss` on what a Sigmoid has squashed already.
    ## Why it costs
    Scores are held between 0 and 1, so no answer can be surer than 0.73.
    ## When it is right
    Never.
    ## Source
    torch.nn.BCEWithLogitsLoss: this loss combines a Sigmoid layer and the BCELoss in one single class.
    """

    id: ClassVar[str] = "double-sigmoid"
    area: ClassVar[str] = "model"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("loss",)

    def judge(self, seen: Seen) -> Finding:
        """By the graph from the loss back."""
        assert seen.loss is not None
        chain = seen.loss.chain
        if not chain or chain[0] != "BinaryCrossEntropyWithLogits":
            return self.not_applicable("the loss is no binary cross entropy of scores")
        if chain[1:2] in (("Sigmoid",), ("Softmax",)):
            return self.fails(
                f"{chain[1].lower()} comes before a loss that takes a sigmoid itself",
                "give BCEWithLogitsLoss the raw scores, or use BCELoss",
            )
        return self.passes("the binary cross entropy is given scores that no sigmoid has squashed")
