"""Planted faults as knobs: each breaks learning in a way that the judge must see. For tests alone."""

import torch

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract


class Fault(Knob):
    """A planted fault.

    ## What it changes
    Learning.
    """

    area = "optimizer"
    contract = Contract.ROUNDING
    when = When.ANY

    def choices(self, facts):
        return (True,)


class Gradients09(Fault):
    """Gradients come out 10 % short."""

    id = "faults:Gradients09"

    def install(self, value, host):
        def make(original):
            def backward(outputs, *args, **kwargs):
                result = original(outputs, *args, **kwargs)
                for optimizer in optimizers:
                    for group in optimizer.param_groups:
                        for parameter in group["params"]:
                            if parameter.grad is not None:
                                parameter.grad.mul_(0.9)
                return result

            return backward

        optimizers = []

        def built(original):
            def __init__(optimizer, *args, **kwargs):
                original(optimizer, *args, **kwargs)
                optimizers.append(optimizer)

            return __init__

        host.wrap(torch.optim.Optimizer, "__init__", built)
        host.wrap(torch.autograd, "_engine_run_backward", make)


class Reduced09(Gradients09):
    """The same, hidden in a reduced precision's noise."""

    id = "faults:Reduced09"
    contract = Contract.REDUCED
    unit = 2.0**-9


class ShiftedLabels(Fault):
    """Targets are shifted by one class in every batch."""

    id = "faults:ShiftedLabels"
    area = "data"

    def install(self, value, host):
        host.loaders.serve(lambda iterator, batch: [batch[0], (batch[1] + 1) % 10])


class Rate11(Fault):
    """The learning rate is 10 % too high."""

    id = "faults:Rate11"

    def install(self, value, host):
        def faster(optimizer):
            for group in optimizer.param_groups:
                group["lr"] *= 1.1

        host.before_first_step(faster)


class NoDecay(Fault):
    """The update forgets weight decay, though the groups still name it."""

    id = "faults:NoDecay"

    def install(self, value, host):
        def make(original):
            def step(optimizer, *args, **kwargs):
                kept = [group["weight_decay"] for group in optimizer.param_groups]
                for group in optimizer.param_groups:
                    group["weight_decay"] = 0.0
                result = original(optimizer, *args, **kwargs)
                for group, decay in zip(optimizer.param_groups, kept):
                    group["weight_decay"] = decay
                return result

            return step

        host.wrap(torch.optim.SGD, "step", make)


class FrozenStatistics(Fault):
    """BatchNorm's running statistics stand still."""

    id = "faults:FrozenStatistics"
    area = "model"

    def install(self, value, host):
        def layer(root, call):
            for module in root.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 0.0
            return call

        host.rewrite_roots(layer, order=5)


class ZeroLayer(Fault):
    """One layer's gradient is lost."""

    id = "faults:ZeroLayer"
    contract = Contract.REDUCED
    unit = 2.0**-9

    def install(self, value, host):
        def layer(root, call):
            first = next(m for m in root.modules() if isinstance(m, torch.nn.Conv2d))
            first.weight.register_hook(torch.zeros_like)
            return call

        host.rewrite_roots(layer, order=5)


class NoClip(Fault):
    """Gradient clipping is skipped."""

    id = "faults:NoClip"

    def install(self, value, host):
        host.set(torch.nn.utils, "clip_grad_norm_", lambda *args, **kwargs: torch.tensor(0.0))
