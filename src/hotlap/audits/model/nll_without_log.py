"""A negative log likelihood of what is no log."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_LOGARITHMS = ("LogSoftmax", "Log", "LogSigmoid", "Log1P", "Logsumexp", "Logcumsumexp")
_PROBABILITIES = ("Softmax", "Sigmoid")
_SCORES = (
    *("Addmm", "Mm", "Linear", "Bmm", "Convolution", "MkldnnConvolution", "NativeBatchNorm", "MaxPool2D"),
    *("Relu", "LeakyRelu", "Gelu", "Elu", "Silu", "Tanh"),
)


class NllWithoutLog(Audit):
    """A negative log likelihood of what is no log.

    ## What it finds
    `NLLLoss` on probabilities or raw scores, with no logarithm in between.
    ## Why it costs
    The loss has no lower end and its gradient no bearing on likelihood; it falls all the same.
    ## When it is right
    Never.
    ## Source
    torch.nn.NLLLoss: the input given through a forward call is expected to contain log-probabilities.
    """

    id: ClassVar[str] = "nll-without-log"
    area: ClassVar[str] = "model"
    misleads: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("loss",)

    def judge(self, seen: Seen) -> Finding:
        """By the graph from the loss back."""
        assert seen.loss is not None
        chain = seen.loss.chain
        if not chain or not chain[0].startswith("NllLoss"):
            return self.not_applicable("the loss is no negative log likelihood")
        given = chain[1] if len(chain) > 1 else "nothing that is trained"
        if given in (*_PROBABILITIES, *_SCORES):
            what = "probabilities" if given in _PROBABILITIES else "raw scores"
            return self.fails(
                f"the negative log likelihood is given {what}, not their logarithm",
                "end the model with log_softmax, or use CrossEntropyLoss on the raw scores",
            )
        if given not in _LOGARITHMS:
            return self.error(f"the negative log likelihood is given the result of {given}, which may be a logarithm")
        return self.passes("the negative log likelihood is given logarithms")
