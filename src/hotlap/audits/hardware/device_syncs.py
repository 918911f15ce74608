"""Operations that wait for the device."""

from __future__ import annotations

from typing import ClassVar

from hotlap.audits.audit import Audit
from hotlap.records import Finding
from hotlap.records.seen import HOST, Operation, Seen

_READ, _CALLED = "item()", "torch.cuda.synchronize"
_NAMES = {
    "_local_scalar_dense": _READ,
    "nonzero": "nonzero()",
    "masked_select": "masked_select()",
    "equal": "equal()",
    "_unique2": "unique()",
    "unique_consecutive": "unique_consecutive()",
}


class DeviceSyncs(Audit):
    """Operations that wait for the device.

    ## What it finds
    In one step: `item()`, `nonzero()` and its like, reading by a mask, copies to pageable memory of the host (`cpu()`,
    `tolist()`, `print` of a tensor); and `torch.cuda.synchronize` in every step.
    ## Why it costs
    The host stops until the device has done all it was given, and then the device waits until the host has more.
    ## When it is right
    Every hundred steps, and where the number decides what comes next.
    ## Source
    PyTorch performance tuning guide, "Avoid unnecessary CPU-GPU synchronization".
    """

    id: ClassVar[str] = "device-syncs"
    area: ClassVar[str] = "hardware"
    knobs: ClassVar[tuple[str, ...]] = ("synchronize",)

    def judge(self, seen: Seen) -> Finding:
        """By one step's operations and the calls per step."""
        if not seen.facts.is_cuda:
            return self.not_applicable("the training runs on the host itself")
        if seen.operations is None or seen.habits is None:
            return self.error("nothing was seen of its operations or its habits")
        counts: dict[str, float] = {}
        for call in seen.operations.calls:
            if name := _waits(call):
                counts[name] = counts.get(name, 0) + call.count
        if seen.scaling and seen.scaling.steps:  # a gradient scaler has to read whether to step, and is no waste
            counts[_READ] = counts.get(_READ, 0) - 1
        if (called := seen.habits.per_step.get(_CALLED, 0.0)) >= 1:
            counts[_CALLED] = called
        counts = {name: count for name, count in counts.items() if count > 0}
        if not counts:
            return self.passes("nothing in a step waits for the device")
        told = ", ".join(f"{name} {count:g} times" for name, count in counts.items())
        return self.fails(
            f"the host waits for the device {sum(counts.values()):g} times in a step: {told}",
            "keep numbers on the device and read them every hundred steps; put masks into torch.where",
            waits=sum(counts.values()),
        )


def _waits(call: Operation) -> str:
    """What makes this call wait; "" where nothing does."""
    if call.crossing:
        return "a copy to the host" if call.crossing[1] == "cpu" else ""
    masked = call.name == "index" and "bool" in call.dtypes[1 : len(call.inputs)]
    name = "a mask as an index" if masked else _NAMES.get(call.name, "")
    return name if call.places and call.places[0] not in HOST else ""
