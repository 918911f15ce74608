"""Planted faults as knobs: each breaks learning in a way that the judge must see. For tests alone."""

import itertools
import random
import time

import torch

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract

ACTED = "the fault acted"


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

    def act(self, host):
        """Say once that there was something to break: a script that never clips cannot skip its clipping."""
        if not getattr(host, "acted", False):
            host.acted = True
            host.journal.write("remark", text=ACTED)


class Gradients09(Fault):
    """Gradients come out 10 % short."""

    id = "faults:Gradients09"
    factor = 0.9

    def install(self, value, host):
        def make(original):
            def backward(outputs, *args, **kwargs):
                result = original(outputs, *args, **kwargs)
                self.act(host)
                for optimizer in optimizers:
                    for group in optimizer.param_groups:
                        for parameter in group["params"]:
                            if parameter.grad is not None:
                                parameter.grad.mul_(self.factor)
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


class LessExact(Gradients09):
    """No fault: a kernel that sums less exactly than torch does, and far more exactly than a reduced precision."""

    id = "faults:LessExact"

    _luck = random.Random(0)  # of its own: drawing from torch's would shuffle the data otherwise

    @property
    def factor(self):
        return 1 + 3e-4 * (self._luck.random() - 0.5)


class OneUlp(Fault):
    """No fault: every weight starts off by a rounding error."""

    id = "faults:OneUlp"

    def install(self, value, host):
        def shift(optimizer):
            with torch.no_grad():
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.mul_(1 + 2.0**-23)

        host.before_first_step(shift)


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
        host.loaders.serve(lambda iterator, batch: self._shifted(host, batch))

    def _shifted(self, host, batch):
        self.act(host)
        return [batch[0], (batch[1] + 1) % (batch[1].max() + 1)]


class Rate11(Fault):
    """The learning rate is 10 % too high."""

    id = "faults:Rate11"

    def install(self, value, host):
        def faster(optimizer):
            self.act(host)
            for group in optimizer.param_groups:
                group["lr"] *= 1.1

        host.before_first_step(faster)


class NoDecay(Fault):
    """The update forgets weight decay, though the groups still name it."""

    id = "faults:NoDecay"

    def install(self, value, host):
        kept = []

        def forget(optimizer, *_):
            kept[:] = [group.get("weight_decay", 0.0) for group in optimizer.param_groups]
            for group, decay in zip(optimizer.param_groups, kept):
                if decay:
                    self.act(host)
                    group["weight_decay"] = 0.0

        def remember(optimizer, *_):
            for group, decay in zip(optimizer.param_groups, kept):
                if decay:
                    group["weight_decay"] = decay

        host.before_first_step(
            lambda optimizer: (optimizer.register_step_pre_hook(forget), optimizer.register_step_post_hook(remember))
        )


class FrozenStatistics(Fault):
    """BatchNorm's running statistics stand still."""

    id = "faults:FrozenStatistics"
    area = "model"

    def install(self, value, host):
        def layer(root, call):
            for module in root.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    self.act(host)
                    module.momentum = 0.0
            return call

        host.rewrite_roots(layer, order=5)


class OtherCheckpoint(Fault):
    """What is saved has another name, as under a wrapper."""

    id = "faults:OtherCheckpoint"
    area = "model"

    def install(self, value, host):
        def renamed(module, saved, prefix, metadata):
            for name in list(saved):
                saved[f"_orig_mod.{name}"] = saved.pop(name)

        def layer(root, call):
            self.act(host)
            root.register_state_dict_post_hook(renamed)
            return call

        host.rewrite_roots(layer, order=5)


class ZeroLayer(Fault):
    """One layer's gradient is lost."""

    id = "faults:ZeroLayer"
    contract = Contract.REDUCED
    unit = 2.0**-9

    def install(self, value, host):
        def layer(root, call):
            self.act(host)
            first = next(p for p in root.parameters() if p.dim() > 1)
            first.register_hook(torch.zeros_like)
            return call

        host.rewrite_roots(layer, order=5)


class NoClip(Fault):
    """Gradient clipping is skipped."""

    id = "faults:NoClip"

    def install(self, value, host):
        def skip(*args, **kwargs):
            self.act(host)
            return torch.tensor(0.0)

        host.set(torch.nn.utils, "clip_grad_norm_", skip)


class Gradients099(Gradients09):
    """Gradients come out 1 % short."""

    id = "faults:Gradients099"
    factor = 0.99


class Short(Fault):
    """What flows back out of each linear layer is 10 % short, with or without an optimizer."""

    id = "faults:Short"

    def install(self, value, host):
        def layer(root, call):
            for parameter in root.parameters():
                parameter.register_hook(lambda gradient: 0.9 * gradient)
            return call

        host.rewrite_roots(layer, order=5)


class ShiftedField(Fault):
    """The labels of a batch that is an object are shifted by one class."""

    id = "faults:ShiftedField"
    area = "data"

    def install(self, value, host):
        def shifted(iterator, batch):
            batch.labels = (batch.labels + 1) % 5
            return batch

        host.loaders.serve(shifted)


class TenthBatch(Fault):
    """Every tenth batch is dropped."""

    id = "faults:TenthBatch"
    area = "data"

    def install(self, value, host):
        def make(original):
            def __next__(iterator):
                served[0] += 1
                if served[0] % 10 == 0:
                    self.act(host)
                    original(iterator)
                return original(iterator)

            return __next__

        served = [0]
        host.wrap(torch.utils.data.dataloader._BaseDataLoaderIter, "__next__", make)


class NoInstall(Fault):
    """It cannot be installed, so the script runs as written."""

    id = "faults:NoInstall"

    def install(self, value, host):
        raise RuntimeError("not on this machine")


class LateFailure(Fault):
    """It fails at the first step, so the script goes on as written."""

    id = "faults:LateFailure"

    def install(self, value, host):
        def act(optimizer):
            raise RuntimeError("not with this optimizer")

        host.before_first_step(act)


class DropoutOff(Fault):
    """Dropout is left off, which the exact gates cannot see: they switch it off themselves."""

    id = "faults:DropoutOff"
    contract = Contract.EXACT

    def install(self, value, host):
        def off(input, p=0.5, training=True, inplace=False):
            if p and training:
                self.act(host)
            return input

        host.set(torch.nn.functional, "dropout", off)


class OneBatch(ShiftedLabels):
    """Labels are shifted in the seventh batch alone."""

    id = "faults:OneBatch"

    def install(self, value, host):
        served = itertools.count(1)
        host.loaders.serve(lambda iterator, batch: self._shifted(host, batch) if next(served) == 7 else batch)


class Twice(Fault):
    """Every tenth batch is the one before it once more."""

    id = "faults:Twice"
    area = "data"
    lag = 1

    def install(self, value, host):
        seen = []

        def serve(iterator, batch):
            seen.append(batch)
            if not self._due(len(seen)):
                return batch
            self.act(host)
            return seen[-1 - self.lag]

        host.loaders.serve(serve)

    def _due(self, number):
        return number % 10 == 0


class Stale(Twice):
    """From the third on each batch is the one before it: a buffer that is handed over too early."""

    id = "faults:Stale"

    def _due(self, number):
        return number > 2


class OtherOrder(Fault):
    """The epoch is shuffled otherwise."""

    id = "faults:OtherOrder"
    area = "data"

    def install(self, value, host):
        def make(original):
            def __iter__(sampler):
                self.act(host)
                return iter(list(original(sampler))[::-1])

            return __iter__

        host.wrap(torch.utils.data.RandomSampler, "__iter__", make)


class ScaledLoss(Gradients09):
    """The loss is ten times what it was, and so are the gradients."""

    id = "faults:ScaledLoss"
    factor = 10.0


class NoMaster(Fault):
    """Weights are kept in bfloat16, so that small updates are lost."""

    id = "faults:NoMaster"
    contract = Contract.REDUCED
    unit = 2.0**-9

    def install(self, value, host):
        def narrow(optimizer, *_):
            self.act(host)
            with torch.no_grad():
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.copy_(parameter.bfloat16())

        host.before_first_step(lambda optimizer: optimizer.register_step_post_hook(narrow))


class SmallBatch(Fault):
    """Gradients come out short in the epoch's last, smaller batch alone."""

    id = "faults:SmallBatch"
    area = "model"

    def install(self, value, host):
        rows = []

        def layer(root, call):
            def called(*args, **kwargs):
                out = call(*args, **kwargs)
                rows.append(args[0].shape[0])
                if rows[-1] == max(rows) or not torch.is_tensor(out) or not out.requires_grad:
                    return out
                self.act(host)
                out.register_hook(lambda gradient: 0.9 * gradient)
                return out

            return called

        host.rewrite_roots(layer, order=5)


class InEvaluation(Fault):
    """What the model answers is off in evaluation mode alone."""

    id = "faults:InEvaluation"
    area = "model"

    def install(self, value, host):
        def layer(root, call):
            original = root.forward

            def forward(*args, **kwargs):
                out = original(*args, **kwargs)
                if root.training or not torch.is_tensor(out):
                    return out
                self.act(host)
                return 1.05 * out

            host.set(root, "forward", forward)
            return call

        host.rewrite_roots(layer, order=5)


class InEvaluationOfTheSecond(InEvaluation):
    """The same of the second model of its class alone."""

    id = "faults:InEvaluationOfTheSecond"

    def install(self, value, host):
        rewrite = host.rewrite_roots

        def second_alone(layer, order):
            rewrite(lambda root, call: layer(root, call) if host.roots.keys.get(root)[1] else call, order=order)

        host.rewrite_roots = second_alone
        super().install(value, host)
        del host.rewrite_roots


class Sleeps(Fault):
    """No fault of learning: each forward is 5 ms late."""

    id = "faults:Sleeps"

    def install(self, value, host):
        host.rewrite_roots(self._late, order=30)

    def switches(self, facts):
        return True

    def _late(self, root, call):
        def late(*args, **kwargs):
            time.sleep(0.005)
            return call(*args, **kwargs)

        return late


class Breaks(Sleeps):
    """The training ends with an exception."""

    id = "faults:Breaks"

    def _late(self, root, call):
        raise RuntimeError("as planted")
