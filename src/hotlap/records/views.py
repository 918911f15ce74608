"""What a closer look shows of a training: what each module costs, what holds the memory, how batches are fetched."""

from __future__ import annotations

from dataclasses import dataclass

from hotlap.records.words import Estimate


@dataclass(frozen=True)
class ModuleRow:
    """What a module costs in a step, without the modules in it; alike modules are one row."""

    name: str
    """As the user names it; "loss" and "optimizer" are no modules."""
    kind: str
    """Class name; "" for what is no module."""
    count: int
    """How many modules the row stands for."""
    forward_s: float
    backward_s: float
    update_s: float
    """Of the optimizer."""
    flops: int | None
    """Floating-point operations of products and convolutions; None where they could not be counted."""
    moved_bytes: int | None
    """Read and written by its operations, were nothing in a cache."""
    allowed_s: float | None
    """The time that the machine's measured limits allow for these operations; None when that is not known."""
    parameter_bytes: int
    """With buffers."""
    gradient_bytes: int
    state_bytes: int
    """Of the optimizer, for its parameters."""
    saved_bytes: int
    """Kept for its backward."""

    @property
    def time_s(self) -> float:
        """All of it."""
        return self.forward_s + self.backward_s + self.update_s

    @property
    def waste_s(self) -> float | None:
        """Time beyond what the machine's limits allow."""
        return None if self.allowed_s is None else max(0.0, self.time_s - self.allowed_s)

    @property
    def intensity(self) -> float | None:
        """Operations per byte."""
        return self.flops / self.moved_bytes if self.flops is not None and self.moved_bytes else None

    @property
    def roofline_share(self) -> float | None:
        """Its rate as a share of what the roofline allows; above 1 where its data stayed in a cache."""
        return None if self.allowed_s is None or not self.time_s else self.allowed_s / self.time_s

    @property
    def memory_bytes(self) -> int:
        """All that it holds."""
        return self.parameter_bytes + self.gradient_bytes + self.state_bytes + self.saved_bytes


@dataclass(frozen=True)
class ModuleTable:
    """A step, module by module. The rows and what is around them sum to it."""

    total_s: float
    """Mean of the traced steps, without the tracing itself."""
    rows: tuple[ModuleRow, ...]
    """The most wasteful first."""
    around_s: dict[str, float]
    """Time that belongs to no row, by phase; "other" is what could not be attributed."""
    steps: int
    """Traced ones."""
    attributed_s: float
    """Forward and backward of all rows together."""
    untraced_s: float
    """Mean time of forward, loss and backward in the steps between them, which were left alone."""
    fidelity: Estimate | None
    """How many times as long forward, loss and backward of a traced step take, without the tracing itself, as those of
    the untraced step after it: the median of these pairs."""
    compiled: bool
    """The script compiles: a row is a whole root, and its operations are those of the modules as written."""
    host_times: bool
    """On a device these are the host's times: what it took to start the work."""


@dataclass(frozen=True)
class HeldRow:
    """Something that holds memory at the peak of a step."""

    name: str
    size_bytes: int
    parts: tuple[tuple[str, int], ...] = ()
    """What it consists of, the largest first [bytes]."""


@dataclass(frozen=True)
class GrownBatch:
    """One trial with another batch size."""

    batch_size: int
    samples: int
    """That a step really had."""
    peak_bytes: int | None
    """None where it did not live to tell."""
    fits: bool
    reason: str
    """Why it does not fit, or did not run; ""."""


@dataclass(frozen=True)
class LargestBatch:
    """The largest batch that fits."""

    room_bytes: int
    """Usable: the limit less 10 %."""
    room: str
    """What the limit is."""
    trials: tuple[GrownBatch, ...]
    fits: int | None
    """The largest that was run and fits; None when none was."""
    extrapolated: int | None
    """What a straight line through the trials gives; None where the largest that fits was found by running."""
    per_sample_bytes: float | None
    why_not: str
    """Why batches could not be grown; ""."""


@dataclass(frozen=True)
class MemoryTable:
    """What holds the memory of a step."""

    peak_bytes: int
    of_a_step: bool
    """The peak is that of steps, and not of the process since it was started."""
    moment: str
    """"backward" or "update": when what is named holds most."""
    rows: tuple[HeldRow, ...]
    """They sum to the peak; the last, "workspaces, freed memory, other", is what is left."""
    device: str
    saved: tuple[tuple[str, int], ...] = ()
    """What each module keeps for the backward when it begins, the most first [bytes]."""
    saved_bytes: int = 0
    """All of that."""
    largest: LargestBatch | None = None


@dataclass(frozen=True)
class FetchRow:
    """Where a part of a batch's fetching goes."""

    stage: str
    """"sample" or "collate"."""
    file: str
    """"" for a transform and for what torch does itself, which have a name and no line."""
    line: int
    function: str
    text: str
    """The statement as written, or the name."""
    time_s: float
    """For a batch."""


@dataclass(frozen=True)
class FetchTable:
    """How the loader that trains makes a batch, in the training's own process. The rows sum to `fetch_s`."""

    dataset: str
    """Qualified class name."""
    samples: float
    """In a batch."""
    fetch_s: float
    """Median time of a batch, nothing followed."""
    sampler_s: float
    """Median time until the sampler has named a batch."""
    waiting: float
    """Share of `fetch_s` in which the fetching thread ran on no core, but waited for files, a network or threads."""
    rows: tuple[FetchRow, ...]
    """The most expensive first."""
    batches: int
    """Fetched so."""
    followed: float
    """How many times as long a batch took while it was followed; its shares are those of such batches."""
    num_workers: int
    wait_s: float | None
    """What the training waits for a batch; None where it was not seen."""
    use_s: float | None
    """What it does between two batches."""
