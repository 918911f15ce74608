"""Every knob, one file each, in the four folders; a new one is one line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotlap.knobs.knob import Knob

OPTIMIZER_RULE = "optimizer-rule"
"""The knob by which an arm of a race reaches the script."""
LAYER_SIZES = "layer-sizes"
"""The knob by which a race changes the layers themselves."""
KNOBS = {
    "whole-batch-fetch": "data.whole_batch_fetch:WholeBatchFetch",
    "sample-cache": "data.sample_cache:SampleCache",
    "fetch-ahead": "data.fetch_ahead:FetchAhead",
    "loader-workers": "data.loader_workers:LoaderWorkers",
    "virtual-workers": "data.virtual_workers:VirtualWorkers",
    "worker-pool": "data.worker_pool:WorkerPool",
    "non-blocking-copies": "data.non_blocking_copies:NonBlockingCopies",
    "pinned-memory": "data.pinned_memory:PinnedMemory",
    "channels-last": "model.channels_last:ChannelsLast",
    "compile": "model.compile:Compile",
    "autocast-bf16": "model.autocast_bf16:AutocastBf16",
    "autocast-fp16": "model.autocast_fp16:AutocastFp16",
    "attention-kernel": "model.attention_kernel:AttentionKernel",
    "checkpointing": "model.checkpointing:Checkpointing",
    "checkpoint-modules": "model.checkpoint_modules:CheckpointModules",
    "offload-activations": "model.offload_activations:OffloadActivations",
    LAYER_SIZES: "model.layer_sizes:LayerSizes",
    "script-compile": "model.script_compile:ScriptCompile",
    "distribution-checks": "model.distribution_checks:DistributionChecks",
    "fused-update": "optimizer.fused_update:FusedUpdate",
    "foreach-update": "optimizer.foreach_update:ForeachUpdate",
    OPTIMIZER_RULE: "optimizer.optimizer_rule:OptimizerRule",
    "grads-to-none": "optimizer.grads_to_none:GradsToNone",
    "malloc-thresholds": "hardware.malloc_thresholds:MallocThresholds",
    "malloc-mappings": "hardware.malloc_mappings:MallocMappings",
    "allocator": "hardware.allocator:Allocator",
    "huge-pages": "hardware.huge_pages:HugePages",
    "threads": "hardware.threads:Threads",
    "numa-node": "hardware.numa_node:NumaNode",
    "thread-pinning": "hardware.thread_pinning:ThreadPinning",
    "wait-policy": "hardware.wait_policy:WaitPolicy",
    "matmul-precision": "hardware.matmul_precision:MatmulPrecision",
    "flush-denormals": "hardware.flush_denormals:FlushDenormals",
    "gc-freeze": "hardware.gc_freeze:GcFreeze",
    "forced-collection": "hardware.forced_collection:ForcedCollection",
    "uninitialized-memory": "hardware.uninitialized_memory:UninitializedMemory",
    "deterministic-algorithms": "hardware.deterministic_algorithms:DeterministicAlgorithms",
    "anomaly-detection": "hardware.anomaly_detection:AnomalyDetection",
    "empty-cache": "hardware.empty_cache:EmptyCache",
    "synchronize": "hardware.synchronize:Synchronize",
    "expandable-segments": "hardware.expandable_segments:ExpandableSegments",
    "cudnn-benchmark": "hardware.cudnn_benchmark:CudnnBenchmark",
    "cudnn-deterministic": "hardware.cudnn_deterministic:CudnnDeterministic",
    "reproducible": "hardware.reproducible:Reproducible",
    "ddp-bucket-view": "hardware.ddp_bucket_view:DdpBucketView",
    "ddp-bucket-size": "hardware.ddp_bucket_size:DdpBucketSize",
    "ddp-static-graph": "hardware.ddp_static_graph:DdpStaticGraph",
    "ddp-unused-parameters": "hardware.ddp_unused_parameters:DdpUnusedParameters",
    "ddp-bf16-gradients": "hardware.ddp_bf16_gradients:DdpBf16Gradients",
}
AGAINST = "against"  # another version of the script
ARGUMENTS = "arguments"  # more of them on the script's command line
BOUNDS = {
    "batch-in-hand": "bounds.batch_in_hand:BatchInHand",
    "no-update": "bounds.no_update:NoUpdate",
}
"""Variants that train wrong, to see what a part of the step costs."""
_NOBODYS = {AGAINST: "against:Against", ARGUMENTS: "arguments:Arguments", **BOUNDS}  # no user turns these


def knob_by_id(knob_id: str) -> Knob:
    """The knob of that id; `package.module:Class` names one that is not in the list.

    Raises:
        KeyError: No knob has it.
    """
    if ":" in knob_id:
        module, name = knob_id.split(":")
        return getattr(import_module(module), name)()
    module, name = (KNOBS | _NOBODYS)[knob_id].split(":")
    return getattr(import_module(f"hotlap.knobs.{module}"), name)()


def all_knobs() -> list[Knob]:
    """Every knob, in the order of the list."""
    return [knob_by_id(knob_id) for knob_id in KNOBS]
