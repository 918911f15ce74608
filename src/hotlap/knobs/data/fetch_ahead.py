"""Batches fetched while the training computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotlap.knobs.keeping_up import why_nothing_to_gain
from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class FetchAhead(Knob):
    """Fetch the next batches in a forked process, with the random states handed along.

    ## What it changes
    Where a DataLoader without workers fetches: a copy of the training's process asks the copied sampler and fetches up
    to three batches ahead, from the states that the generators of torch, Python and numpy have. A batch is taken if the
    training is in the very state in which it was fetched, and the state after it with it; else it is fetched as ever.
    So random transforms draw the same numbers as without it. Some batches are compared with torch's own.
    ## Why it can help
    Reading, decoding and augmenting run beside the training step instead of before it, even where they draw random
    numbers, which rules out loader workers.
    ## When it cannot
    A model that draws from the same generators between two batches (dropout on the CPU) while fetching draws as well,
    CUDA in use, open files or locks in the dataset, a dataset that fetching changes, one core; batches that hardly keep
    the training waiting, or take about as long to be handed over as to be fetched.
    ## Source
    torch.utils.data documentation, "Multi-process data loading" and its notes on randomness.
    """

    id: ClassVar[str] = "fetch-ahead"
    area: ClassVar[str] = "data"
    contract: ClassVar[Contract] = Contract.EXACT
    when: ClassVar[When] = When.IMPORT
    phase: ClassVar[str] = "data"
    conflicts: ClassVar[tuple[str, ...]] = ("sample-cache", "loader-workers", "thread-pinning", "wait-policy")

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On for trainings that fetch in their own process, where a core is free for another."""
        training = [loader for loader in facts.loaders if loader.trains]
        if not training:
            return Skip("no DataLoader feeds the training")
        here = [loader for loader in training if not loader.num_workers]
        if not here:
            return Skip("worker processes fetch ahead already")
        if facts.is_cuda:
            return Skip("CUDA is in use, and a process must not be forked then")
        if min(facts.machine.threads, facts.machine.quota or facts.machine.threads) < 2 * facts.ranks_here:
            return Skip("there is no core to spare for another process")
        if all(loader.tied for loader in here):
            reasons = dict.fromkeys(f"{loader.dataset.split(':')[-1]}: {loader.tied}" for loader in here)
            return Skip("; ".join(reasons))
        if facts.stochastic and all(loader.draws_randomness is not False for loader in here):
            return Skip("the model draws random numbers between two batches, as fetching does")
        if reason := why_nothing_to_gain(training):
            return Skip(reason)
        return (True,)

    def install(self, value: Value, host: Host) -> None:
        """Fork a helper behind the first fetch of every iterator, where its loader allows it."""
        if not value:
            return
        from hotlap.loader.ahead import FetchAhead as Path

        Path(host, self.id).install()
