"""The records that travel between the stages, all frozen.

They are standard-library dataclasses so that the user's process can build them; the parent reads and writes them
through msgspec. Units are in the field names: `_s` seconds, `_bytes`, `_share` a fraction of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

SCHEMA = 1  # of everything written to disk; a reader refuses a newer one

Value = bool | int | float | str

PHASES = ("data", "copy", "forward", "loss", "backward", "optimizer", "other")  # they sum to the step


class Contract(str, Enum):
    """What a knob promises about learning; the verifier tests the promise."""

    EXACT = "exact"  # the same bits
    ROUNDING = "rounding"  # the same maths in another order, or by another kernel
    REDUCED = "reduced"  # lower precision
    RECIPE = "recipe"  # another training algorithm: only on the user's word

    @property
    def level(self) -> int:
        """Position from the strictest promise (0) to the loosest."""
        return list(Contract).index(self)


class Status(str, Enum):
    """What an audit says of a recording."""

    PASS = "pass"
    FAIL = "fail"
    INFORMATIVE = "informative"
    NOT_APPLICABLE = "not_applicable"
    ERROR = "error"


class Word(str, Enum):
    """The grade of a verdict, from the best to no answer."""

    IDENTICAL = "identical"
    ROUNDING = "rounding"
    EQUIVALENT = "equivalent"
    CHANGED = "changed"
    UNDECIDED = "undecided"

    @property
    def may_enter_plan(self) -> bool:
        """Only a proven grade goes into a plan: "could not check" never does."""
        return self in (Word.IDENTICAL, Word.ROUNDING, Word.EQUIVALENT)


class Outcome(str, Enum):
    """What ended a trial: a closed list, told apart by evidence."""

    BUDGET = "budget reached"
    ENDED = "script ended early"
    EXCEPTION = "user exception"
    NOT_REACHED = "never reported in"
    DEVICE_OOM = "device out of memory"
    HOST_OOM = "host out of memory"
    SHARED_MEMORY = "shared memory full"
    CRASH = "crashed"
    HANG = "hung"
    DISK_FULL = "disk full"
    PORT_IN_USE = "port in use"
    NON_FINITE = "non-finite loss"
    BLOCKED_WRITE = "write outside the sandbox"
    KILLED = "killed, cause unknown"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Estimate:
    """The only way a measured number reaches a reader."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    unit: str
    n: int
    """Independent observations behind it."""


@dataclass(frozen=True)
class Skip:
    """Why a knob is not tried."""

    reason: str


@dataclass(frozen=True)
class Signature:
    """One way in which a root is called."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    training: bool
    grad: bool


@dataclass(frozen=True)
class Root:
    """A module that the script itself calls, found again in every process by class and order of construction."""

    name: str
    """Qualified class name, `module:Class`."""
    index: int
    """How many modules of this class were constructed before it."""
    parameters: int
    parameter_shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    modules: dict[str, int]
    """Class name to count, over the root and everything below it."""
    signatures: tuple[Signature, ...]
    compiled: bool
    """The script compiles it already."""
    reachable: bool
    """Built by its constructor in the training process, so that later trials can find it before its first call."""


@dataclass(frozen=True)
class Loader:
    """A DataLoader as the script built it."""

    index: int
    """Order of construction."""
    dataset: str
    """Qualified class name."""
    length: int | None
    """Samples in the dataset; None for an iterable one."""
    batch_size: int | None
    drop_last: bool
    num_workers: int
    pin_memory: bool
    persistent_workers: bool
    shuffles: bool
    default_collate: bool
    trains: bool
    """Its batches reach a training step."""
    whole_batch: str
    """"" when whole batches can be fetched at once, else why not."""
    draws_randomness: bool | None
    """Whether fetching moved any generator; None when that was not seen."""

    @property
    def batches(self) -> int | None:
        """Batches in an epoch, if known."""
        if self.length is None or not self.batch_size:
            return None
        return self.length // self.batch_size if self.drop_last else -(-self.length // self.batch_size)

    @property
    def tail(self) -> int:
        """Samples in the epoch's last, smaller batch; 0 when all are equal."""
        if self.length is None or not self.batch_size or self.drop_last:
            return 0
        return self.length % self.batch_size


@dataclass(frozen=True)
class Optimizer:
    """An optimizer as the script built it."""

    name: str
    """Qualified class name."""
    parameters: int
    """Elements it owns."""
    floating: bool
    """Every parameter is of a floating dtype."""
    sparse: bool
    """It has seen a sparse gradient."""
    devices: tuple[str, ...]
    fused: bool
    foreach: bool
    main: bool
    """The one whose step ends a training step."""


@dataclass(frozen=True)
class Machine:
    """The part of the machine that decides what can help."""

    cpu: str
    cores: int
    """Physical cores in the affinity mask."""
    threads: int
    """Logical cores in the affinity mask."""
    quota: float | None
    """Cores allowed by the cgroup; None when unlimited."""
    memory_bytes: int
    flags: tuple[str, ...]
    """The CPU features that knobs ask about."""
    libc: str
    """For instance "glibc 2.36"; "musl" without a version."""
    preload: str
    """Value of LD_PRELOAD."""
    compiler: str
    """Path of the C++ compiler that torch.compile would use; "" when there is none."""


@dataclass(frozen=True)
class Precision:
    """What the script itself asks of the arithmetic."""

    matmul: str
    """torch.get_float32_matmul_precision()."""
    autocast: bool
    """A root was called under autocast."""
    grad_scaler: bool
    cudnn_benchmark: bool
    cudnn_deterministic: bool
    deterministic_algorithms: bool


@dataclass(frozen=True)
class Facts:
    """What is known about a script on a machine after one observed run."""

    script: str
    script_sha256: str
    argv: tuple[str, ...]
    python: str
    torch: str
    device: str
    """"cpu", or the name of the accelerator."""
    world_size: int
    machine: Machine
    precision: Precision
    roots: tuple[Root, ...]
    loaders: tuple[Loader, ...]
    optimizers: tuple[Optimizer, ...]
    epoch_steps: int | None
    """Training steps in an epoch, if one is known."""
    threads: int
    """torch.get_num_threads() in the training process."""
    faults_per_step: float
    """Minor page faults per steady step."""
    stochastic: bool
    """Dropout or another random layer was seen active in training."""
    manual_update: bool
    """No optimizer object: the script updates its weights by hand."""

    @property
    def is_cuda(self) -> bool:
        """The training runs on a CUDA device."""
        return self.device != "cpu"


@dataclass(frozen=True)
class Setting:
    """A knob turned to a value."""

    knob: str
    value: Value


@dataclass(frozen=True)
class Setup:
    """Sorted settings; the empty one is the untouched script."""

    settings: tuple[Setting, ...] = ()

    @classmethod
    def of(cls, values: dict[str, Value]) -> Setup:
        """The setup for these knob values, in canonical order."""
        return cls(tuple(Setting(knob, values[knob]) for knob in sorted(values)))

    @property
    def values(self) -> dict[str, Value]:
        """Knob id to value."""
        return {setting.knob: setting.value for setting in self.settings}

    def with_(self, knob: str, value: Value) -> Setup:
        """This setup with one more setting."""
        return Setup.of({**self.values, knob: value})

    def without(self, *knobs: str) -> Setup:
        """This setup less some knobs."""
        return Setup.of({knob: value for knob, value in self.values.items() if knob not in knobs})

    def __str__(self) -> str:
        return ", ".join(s.knob if s.value is True else f"{s.knob}={s.value}" for s in self.settings) or "as written"


AS_WRITTEN = Setup()
"""The untouched script."""


@dataclass(frozen=True)
class Trial:
    """One fresh run of the script."""

    id: str
    purpose: str
    """observe, time, reference, noise or candidate."""
    setup: Setup
    seed: int
    """Mixed into the script's own seeds; 0 leaves them as written."""
    block: int
    steps: int
    """Training steps after which it is ended; 0 for no limit."""
    limit_s: float
    """It is ended after so much time in its training loop even when the steps are not reached."""
    options: dict[str, Value] = field(default_factory=dict)
    """What the purpose needs besides: noise unit, folder of the reference, ..."""


@dataclass(frozen=True)
class Steps:
    """The steps of one process as columns of equal length, in order from the first."""

    total_s: tuple[float, ...] = ()
    phases_s: dict[str, tuple[float, ...]] = field(default_factory=dict)
    samples: tuple[int, ...] = ()
    losses: tuple[float | None, ...] = ()
    faults: tuple[float, ...] = ()
    """Minor page faults, counted over stretches of steps and spread evenly."""
    compiles: tuple[int, ...] = ()
    """Graphs compiled so far at the end of each step."""


@dataclass(frozen=True)
class Recording:
    """What one trial left behind. Never edited."""

    trial: Trial
    outcome: Outcome
    reason: str
    exit_code: int | None
    wall_s: float
    startup_s: float | None
    """From the start of the process to the first training step."""
    steps: Steps
    epoch_start_s: float
    """Mean cost of starting an iteration over the training loader: `iter()` and the surplus of the first batch."""
    evaluation_s: float
    """Time in evaluation; it is part of no step."""
    evaluations: int
    warmup_steps: int
    device_phases_s: dict[str, float]
    """Mean time of each phase on the device itself, by events in some of the steady steps; {} without one."""
    peak_bytes: int
    cuda_peak_bytes: int | None
    processes: int
    """Processes that trained."""
    facts: Facts | None
    failed_probes: dict[str, str]
    failed_knobs: dict[str, str]
    installed_knobs: tuple[str, ...]
    notes: tuple[str, ...]
    """What was seen that a reader should know, in words."""
    log: str
    """Where the captured output is, relative to the logbook."""


@dataclass(frozen=True)
class Finding:
    """What an audit found."""

    audit: str
    area: str
    status: Status
    headline: str
    wasted: Estimate | None
    evidence: dict[str, Value]
    knobs: tuple[str, ...]
    advice: str
    """What to change in the code, if it can be said."""


@dataclass(frozen=True)
class Gate:
    """One gate's answer."""

    name: str
    word: Word
    reason: str
    step: int | None = None
    """First step that differs."""
    parameter: str = ""
    """First parameter that differs."""
    gap: float | None = None
    """Worst relative error seen."""
    band: float | None = None
    """What the noise arms allow at that place."""


@dataclass(frozen=True)
class Verdict:
    """Does it learn the same?"""

    word: Word
    gate: str
    """The gate that decided."""
    reason: str
    gates: tuple[Gate, ...]
    seeds: int
    guilty: tuple[str, ...] = ()
    """The knobs at fault, when one was found."""


@dataclass(frozen=True)
class Rejected:
    """A setting that was tried or considered and is not in the plan."""

    setup: Setup
    reason: str
    evidence: Estimate | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Kept:
    """A setting in the plan."""

    knob: str
    area: str
    value: Value
    contract: Contract
    share: Estimate | None
    """Its own share of the speed-up; None when that was not measured."""


@dataclass(frozen=True)
class Pair:
    """Baseline and candidate of one block, as they ran back to back."""

    block: int
    seed: int
    setup: Setup
    reference: str
    """Trial id of the baseline."""
    candidate: str
    """Trial id of the candidate."""
    reference_s: float
    """Mean time per step, with the epoch's start spread over its steps."""
    candidate_s: float
    stage: str
    """noise, screen, combine, confirm or leave-one-out."""


@dataclass(frozen=True)
class Phases:
    """Mean time of each phase in a steady step [s]; they sum to the step."""

    total_s: float
    phases_s: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """The losses of one confirmation pair, step by step from the first."""

    seed: int
    reference: tuple[float | None, ...]
    candidate: tuple[float | None, ...]


@dataclass(frozen=True)
class Result:
    """What one tune answered; everything in it can be recomputed from the logbook."""

    target: str
    """The command line as the user typed it."""
    facts: Facts
    speedup: Estimate | None
    """Per training step; None when nothing is proven."""
    speedup_run: Estimate | None
    """The whole run with start-up, compilation and evaluation; None when the length is not known."""
    verdict: Verdict | None
    """None when nothing was there to judge."""
    kept: tuple[Kept, ...]
    rejected: tuple[Rejected, ...]
    skipped: dict[str, str]
    """Knob id to the reason why it was not tried."""
    levels: dict[str, Estimate | None]
    """Speed-up when only settings up to this contract are kept; None when that was not measured."""
    baseline: Phases
    tuned: Phases | None
    pairs: tuple[Pair, ...]
    curves: tuple[Curve, ...]
    findings: tuple[Finding, ...]
    noise: float
    """Standard deviation of a pair's log ratio, pooled over all blocks."""
    smallest_gain: float
    """The smallest gain that this tune could have proven, as a share."""
    tuning_s: float
    payback_steps: int | None
    """Training steps after which the plan has repaid its start-up cost; None when it costs none or never pays."""
    evaluation_share: float
    """Share of the observed time that the script spent in evaluation."""
    peak_bytes: tuple[int, int]
    """Peak memory of the training process: as written, tuned."""
    ceiling: dict[str, float]
    """Measured ceilings of the machine: "matmul_flops", "copy_bytes_s"; empty when not measured."""
    notes: tuple[str, ...]
    cut_short: str = ""
    """What the budget left undone before anything was proven; "" when the answer is complete."""
