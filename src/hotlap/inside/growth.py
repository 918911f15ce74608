"""A trial with another batch size, which shows how much memory that takes; it is thrown away."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler

from hotlap.inside.calls import tensors_in
from hotlap.inside.process import children_bytes, resident

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

_PER_THREAD = 16 << 20  # of address space, for its stack and arena, which is not memory yet


class _Repeated:
    """A sampler over and over, so that a batch may be larger than the data set."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        drawn = True
        while drawn:
            drawn = False
            for index in self._sampler:
                drawn = True
                yield index


class GrowthTrial:
    """Serves larger batches within a limit that is this process's own: what fails is this trial, and not the machine.

    The task's options: `batch_size` in place of `written` for the first of the `loaders`, the others in proportion; the
    `room_bytes` of host memory that it may take, 0 for no limit.
    """

    def __init__(self, host: Host, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder
        self._options: dict[str, Any] = host.task["options"]
        self._grown = False
        self._samples = 0
        self._children = 0

    def install(self) -> None:
        """Override the loaders that train, and be the first to go when memory ends."""
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        if self._options["room_bytes"]:
            old = resource.getrlimit(resource.RLIMIT_DATA)
            self._host.call(self._confine, lambda: resource.setrlimit(resource.RLIMIT_DATA, old))
        self._host.loaders.override_each(self._choose)
        self._host.loaders.serve(self._served)
        self._recorder.on_end.append(self._stepped)
        self._recorder.on_close.append(self._write)

    def _confine(self) -> None:
        """Let an allocation beyond the room fail here and now, as an exception."""
        reserved = max(0, _data_bytes() - resident()[0]) + _PER_THREAD * (torch.get_num_threads() + 4)
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = int(self._options["room_bytes"]) + reserved
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard < 0 else min(soft, hard), hard))

    def _choose(self, loader: Any) -> dict[str, Any]:
        trains = str(self._host.loaders.index_of(loader)) in str(self._options["loaders"]).split()
        if not trains or type(loader.batch_sampler) is not BatchSampler:
            return {}
        size = max(1, loader.batch_size * int(self._options["batch_size"]) // int(self._options["written"]))
        self._grown = True
        return {"batch_sampler": BatchSampler(_Repeated(loader.sampler), size, loader.drop_last)}  # type: ignore[arg-type]

    def _served(self, iterator: Any, batch: Any) -> Any:
        shapes = [tensor.shape for tensor in tensors_in(batch)]
        size = int(self._options["batch_size"])
        rows = size if any(size in shape for shape in shapes) else max((s[0] for s in shapes if len(s)), default=0)
        self._samples = max(self._samples, rows)
        return batch

    def _stepped(self, done: int) -> None:
        self._children = max(self._children, children_bytes())

    def _write(self) -> None:
        on_device = torch.cuda.is_initialized()
        what = {
            "grown": self._grown,
            "samples": self._samples,
            "peak_bytes": torch.cuda.max_memory_reserved() if on_device else resident()[1] + self._children,
            "device_bytes": torch.cuda.get_device_properties(0).total_memory if on_device else 0,
        }
        self._host.journal.write("seen", probe="growth", what=what)


def _data_bytes() -> int:
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    return 0
