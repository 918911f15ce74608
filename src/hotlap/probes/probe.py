"""The interface of a probe: it looks at an observed run from inside, and writes down what an audit needs.

Probes run in trials that are thrown away, never in a training; one that fails costs the audits that need it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch

if TYPE_CHECKING:
    from torch import nn

    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder

Roots = Callable[[], "list[nn.Module]"]
LOOKED_AT_STEP = 7  # a step like any other: lazy layers are built, and the operations have been counted in another


class Probe(ABC):
    """One thing to look at."""

    id: ClassVar[str]
    """The field of `records.Seen` that it fills."""

    @abstractmethod
    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """Hook what there is to see, through the host only.

        Args:
            host: Of this process.
            recorder: Tells when steps end.
            roots: Gives the modules that the script has called with gradients so far.
        """

    def guarded(self, host: Host, act: Callable[..., None]) -> Callable[..., None]:
        """The same act, of which a failure costs this probe and not the script; not while Dynamo traces it."""

        def guarded(*args: Any) -> None:
            if not torch.compiler.is_compiling():
                host.guarded(f"probe {self.id}", lambda: act(*args))

        return guarded

    def until_looked(self, recorder: Recorder, undo: Callable[[], Any]) -> None:
        """Take a hook back once the step has been looked at: the steps after it are timed."""

        def end(done: int) -> None:
            if done >= LOOKED_AT_STEP:
                recorder.on_end.remove(end)
                undo()

        recorder.on_end.append(end)

    def before_update(self, host: Host, recorder: Recorder, look: Callable[[torch.optim.Optimizer], None]) -> None:
        """Look once, right before an update of the step that is looked at, when its gradients are there."""
        looked: list[bool] = []

        def before(optimizer: torch.optim.Optimizer) -> None:
            if recorder.index == LOOKED_AT_STEP and not looked:
                looked.append(True)
                look(optimizer)

        before = self.guarded(host, before)
        recorder.on_optimizer_start.append(before)
        self.until_looked(recorder, lambda: recorder.on_optimizer_start.remove(before))

    def see(self, host: Host, what: Any) -> None:
        """Write down what was seen, a record of records/seen.py; the last one counts."""
        host.journal.write("seen", probe=self.id, what=asdict(what))
