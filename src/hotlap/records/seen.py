"""What the probes of an observed run saw, for the audits to judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hotlap.records.facts import Facts
from hotlap.records.result import Phases
from hotlap.records.trial import Steps

Shape = tuple[int, ...]
HOST = ("cpu", "pinned", "made")
"""Places of tensors that are the host's memory, see `Operation.places`."""


@dataclass(frozen=True)
class Operation:
    """Calls of one operation with the same shapes and types in one training step."""

    name: str
    """As torch dispatches it, without the namespace: "mm"."""
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    """Of the inputs, then of the outputs."""
    count: int
    moved_bytes: int
    """Read and written by all these calls together, were nothing in a cache."""
    places: tuple[str, ...] = ()
    """Where the inputs, then the outputs lie, or the one place where all do: "cuda", "cpu", and where devices meet
    "pinned" for page-locked memory of the host and "made" for what this step itself, its data apart, has filled there.
    """

    @property
    def crossing(self) -> tuple[str, str] | None:
        """From where to where it copies, between devices; None where it does something else."""
        if self.name not in ("_to_copy", "copy_") or len(self.places) < 2:
            return None
        source, goal = self.places[:2] if self.name == "_to_copy" else self.places[1::-1]
        on_host = [place in HOST for place in (source, goal)]
        return (source, goal) if any(on_host) and not all(on_host) else None


@dataclass(frozen=True)
class Operations:
    """All operations of one training step."""

    calls: tuple[Operation, ...]


@dataclass(frozen=True)
class Structure:
    """How the model and the optimizers hang together after some steps."""

    biased_before_norm: tuple[str, ...]
    """Convolutions with a bias whose output goes into a BatchNorm and nowhere else."""
    in_no_optimizer: tuple[str, ...]
    """Trainable parameters that nobody updates."""
    never_a_gradient: tuple[str, ...]
    """Parameters that an optimizer owns and that had no gradient in any step seen."""
    of_no_module: int
    """Parameters that an optimizer owns and that belong to no module that is trained."""
    searched_in_vain: bool = False
    """DistributedDataParallel looks for unused parameters in each step, and every parameter had a gradient."""


@dataclass(frozen=True)
class Habits:
    """What the script does around its steps, as counts per step."""

    steps: int
    per_step: dict[str, float]
    """Name of the call to calls per step."""
    scheduler_first: bool
    """A learning rate scheduler stepped before any optimizer had."""


@dataclass(frozen=True)
class Costly:
    """Calls that stop a training while they last: prints, saves, plots, collections."""

    per_step: dict[str, float]
    """Name to calls per step."""
    spent_s: dict[str, tuple[float, ...]]
    """Name to the time in it, for each step."""


@dataclass(frozen=True)
class Modes:
    """In which mode the models are that are updated: those parts of them that compute otherwise in evaluation."""

    steps: int
    """Seen; 0 where no part does."""
    evaluating: int
    """Among them those with all such parts in evaluation mode."""
    turned: int
    """Among these those that came after a step in training mode."""


@dataclass(frozen=True)
class Collector:
    """Python's garbage collector."""

    per_step_s: float
    """Mean time in it per step."""
    spent_s: tuple[float, ...] = ()
    """For each step the time in it."""


@dataclass(frozen=True)
class Denormals:
    """Numbers below the smallest normal one."""

    share: float
    """Among weights, gradients and optimizer state."""


@dataclass(frozen=True)
class LossGraph:
    """What the loss is made of."""

    chain: tuple[str, ...]
    """Operations from the loss back towards the model, shape changes left out."""
    broadcasts: str
    """What torch warned of when a loss was given shapes that differ; ""."""
    scaled: bool = False
    """Divided or multiplied before its backward, or sent back with another seed than 1; a gradient scaler apart."""
    summed: bool = False
    """It is a sum over its samples, not their mean."""
    accumulated: int = 0
    """Backwards of this same loss in one step, where each had a batch of a loader's to itself; else 0."""


@dataclass(frozen=True)
class Rows:
    """Which rows of a model's answer depend on which sample of its batch."""

    samples: int
    rows: int
    mixed: bool
    """A sample changed rows that are not its own."""


@dataclass(frozen=True)
class Graphs:
    """Autograd graphs of the first steps, some steps later."""

    steps: int
    """Steps whose graph was marked and had come to its end before the count."""
    alive: int
    """Among them those whose graph something still holds."""


@dataclass(frozen=True)
class Gradients:
    """Gradients right before one update."""

    numbers: int
    non_finite: int
    """NaN or infinite among them."""


@dataclass(frozen=True)
class Compilation:
    """What torch.compile did for the script by the end of the run."""

    graphs: int
    recompiles: int
    """Of the last 64 compilations, those of a function that was compiled before."""
    why: str
    """The guard that failed in the last of them; "" if there was none."""
    limit_reached: bool
    """A function was compiled so often that torch gave up and runs it eagerly."""
    breaks: dict[str, int]
    """Why graphs ended early, to how often."""
    spent_s: float
    """In those compilations."""


@dataclass(frozen=True)
class Scaling:
    """Autocast and gradient scaling."""

    dtypes: tuple[str, ...]
    """That modules were called under autocast to, in the step that was looked at."""
    steps: int
    """Updates that an enabled gradient scaler was asked for."""
    skipped: int | None
    """Among them those that it left out; None where the optimizer decides that on the device."""


@dataclass(frozen=True)
class Stream:
    """The random generators that a loader's worker drew from in its first fetch."""

    dataset: str
    """Qualified class name."""
    epoch: int
    """The seed that the workers of one pass over the loader have in common."""
    worker: int
    states: tuple[int, ...]
    """Digests of their states before and after it."""


@dataclass(frozen=True)
class Streams:
    """Those of all workers of the run."""

    streams: tuple[Stream, ...]


@dataclass(frozen=True)
class Switches:
    """Settings of the process that cost time and are meant for debugging, by name, with their value."""

    on: dict[str, str]


@dataclass(frozen=True)
class Seen:
    """Everything that audits may look at; None where a probe failed or had nothing to look at."""

    facts: Facts
    phases: Phases
    steps: Steps
    operations: Operations | None = None
    structure: Structure | None = None
    habits: Habits | None = None
    collector: Collector | None = None
    denormals: Denormals | None = None
    loss: LossGraph | None = None
    rows: Rows | None = None
    switches: Switches | None = None
    graphs: Graphs | None = None
    gradients: Gradients | None = None
    compilation: Compilation | None = None
    scaling: Scaling | None = None
    modes: Modes | None = None
    costly: Costly | None = None
    load: Mapping[str, float] = field(default_factory=dict)
    """What took CPU time from the run, see `trials.load`."""
    streams: Streams | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    """Probes that failed, by the field that they fill, with the reason."""
