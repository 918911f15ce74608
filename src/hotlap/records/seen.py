"""What the probes of an observed run saw, for the audits to judge."""

from __future__ import annotations

from dataclasses import dataclass

from hotlap.records.facts import Facts
from hotlap.records.result import Phases
from hotlap.records.trial import Steps

Shape = tuple[int, ...]


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


@dataclass(frozen=True)
class Habits:
    """What the script does around its steps, as counts per step."""

    steps: int
    per_step: dict[str, float]
    """Name of the call to calls per step."""
    scheduler_first: bool
    """A learning rate scheduler stepped before any optimizer had."""


@dataclass(frozen=True)
class Collector:
    """Python's garbage collector."""

    per_step_s: float
    """Mean time in it per step."""


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


@dataclass(frozen=True)
class Rows:
    """Which rows of a model's answer depend on which sample of its batch."""

    samples: int
    rows: int
    mixed: bool
    """A sample changed rows that are not its own."""


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
