"""An attention kernel whose backward can give NaN."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import Seen

_OPERATION = "_scaled_dot_product_cudnn_attention"
_HOPPER = ("H100", "H200", "H800", "H20", "GH200")
_TORCH = ("2.11.", "2.12.", "2.13.")
_TILE = 128


class CudnnAttentionNan(Audit):
    """An attention kernel whose backward can give NaN.

    ## What it finds
    cuDNN's attention with a mask, on a Hopper GPU, over keys whose number leaves 64 when divided by 128, in torch 2.11
    to 2.13.
    ## Why it costs
    Where every score of a query is very negative, its gradient comes out as NaN, and with it all weights: hours later.
    ## When it is right
    Never; other backends are right and about as fast.
    ## Source
    pytorch#196678, trl#7181.
    """

    id: ClassVar[str] = "cudnn-attention-nan"
    area: ClassVar[str] = "model"
    misleads: ClassVar[bool] = True

    def judge(self, seen: Seen) -> Finding:
        """By the device, the version and one step's operations."""
        facts = seen.facts
        if not any(name in facts.device for name in _HOPPER) or not facts.torch.startswith(_TORCH):
            return self.not_applicable("neither this device nor this torch is known for it")
        if seen.operations is None:
            return self.error("nothing was seen of its operations")
        calls = [call for call in seen.operations.calls if call.name == _OPERATION]
        exposed = [call for call in calls if len(call.inputs) > 3 and call.inputs[1][-2] % _TILE == _TILE // 2]
        if not exposed:
            return self.passes("cuDNN's attention is not called in the way that can give NaN", calls=len(calls))
        return self.fails(
            f"cuDNN's attention with a mask over {exposed[0].inputs[1][-2]} keys can give NaN gradients on this device",
            "call torch.backends.cuda.enable_cudnn_sdp(False), or pad to a multiple of 128",
            calls=sum(call.count for call in exposed),
        )
