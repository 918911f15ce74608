"""Every audit, one file each, in the four folders; a new one is one line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotlap.audits.audit import Audit

AUDITS = {
    "input-wait": "data.input_wait:InputWait",
    "no-shuffle": "data.no_shuffle:NoShuffle",
    "same-augmentation": "data.same_augmentation:SameAugmentation",
    "pageable-copies": "data.pageable_copies:PageableCopies",
    "made-on-host": "data.made_on_host:MadeOnHost",
    "folded-batch": "model.folded_batch:FoldedBatch",
    "double-softmax": "model.double_softmax:DoubleSoftmax",
    "double-sigmoid": "model.double_sigmoid:DoubleSigmoid",
    "nll-without-log": "model.nll_without_log:NllWithoutLog",
    "broadcast-loss": "model.broadcast_loss:BroadcastLoss",
    "bias-before-norm": "model.bias_before_norm:BiasBeforeNorm",
    "float64": "model.float64:Float64",
    "hand-written-attention": "model.hand_written_attention:HandWrittenAttention",
    "layout-thrash": "model.layout_thrash:LayoutThrash",
    "evaluation-with-gradients": "model.evaluation_with_gradients:EvaluationWithGradients",
    "evaluation-mode": "model.evaluation_mode:EvaluationMode",
    "math-attention": "model.math_attention:MathAttention",
    "cudnn-attention-nan": "model.cudnn_attention_nan:CudnnAttentionNan",
    "odd-shapes": "model.odd_shapes:OddShapes",
    "large-logits": "model.large_logits:LargeLogits",
    "dense-embedding": "model.dense_embedding:DenseEmbedding",
    "one-hot-product": "model.one_hot_product:OneHotProduct",
    "recompiles": "model.recompiles:Recompiles",
    "parameters-left-out": "optimizer.parameters_left_out:ParametersLeftOut",
    "never-a-gradient": "optimizer.never_a_gradient:NeverAGradient",
    "missing-zero-grad": "optimizer.missing_zero_grad:MissingZeroGrad",
    "scheduler-first": "optimizer.scheduler_first:SchedulerFirst",
    "per-tensor-update": "optimizer.per_tensor_update:PerTensorUpdate",
    "clip-per-tensor": "optimizer.clip_per_tensor:ClipPerTensor",
    "undivided-accumulation": "optimizer.undivided_accumulation:UndividedAccumulation",
    "scaler-with-bf16": "optimizer.scaler_with_bf16:ScalerWithBf16",
    "non-finite": "optimizer.non_finite:NonFinite",
    "page-faults": "hardware.page_faults:PageFaults",
    "cpu-throttled": "hardware.cpu_throttled:CpuThrottled",
    "too-many-threads": "hardware.too_many_threads:TooManyThreads",
    "debug-switches": "hardware.debug_switches:DebugSwitches",
    "denormals": "hardware.denormals:Denormals",
    "garbage-collection": "hardware.garbage_collection:GarbageCollection",
    "calls-every-step": "hardware.calls_every_step:CallsEveryStep",
    "cpu-build": "hardware.cpu_build:CpuBuild",
    "graph-kept-alive": "hardware.graph_kept_alive:GraphKeptAlive",
    "device-syncs": "hardware.device_syncs:DeviceSyncs",
    "launch-bound": "hardware.launch_bound:LaunchBound",
    "data-parallel": "hardware.data_parallel:DataParallel",
}


def audit_by_id(audit_id: str) -> Audit:
    """The audit of that id.

    Raises:
        KeyError: No audit has it.
    """
    module, name = AUDITS[audit_id].split(":")
    return getattr(import_module(f"hotlap.audits.{module}"), name)()


def all_audits() -> list[Audit]:
    """Every audit, in the order of the list."""
    return [audit_by_id(audit_id) for audit_id in AUDITS]
