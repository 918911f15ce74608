"""What is known about a script and its machine after one observed run."""

from __future__ import annotations

from dataclasses import dataclass, field

BEFORE_CLIPPING = " before clipping"
"""Ends the names of gradients that were looked at before the script clipped them."""
OPAQUE = "no tensor"
"""In the manner of a call whose arguments hold no tensor that was found."""


@dataclass(frozen=True)
class Signature:
    """One way in which a root is called."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    training: bool
    grad: bool
    manner: tuple[str, ...] = ()
    """Switches among the arguments and parameters that are frozen, see `inside.calls.signature`."""


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
    blocks: int = 0
    """How many of its modules stand in a list with two or more others of their class."""


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
    shuffles: bool | None
    """Another order in every epoch, by its sampler; None for a sampler that hotlap does not know."""
    default_collate: bool
    trains: bool
    """Its batches reach a training step."""
    whole_batch: str
    """"" when whole batches can be fetched at once, else why not."""
    draws_randomness: bool | None
    """Whether fetching moved any generator; None when that was not seen."""
    sample_cache: str = "its samples were not looked at"
    """"" when its samples can be kept for later epochs and that pays, else why not."""
    tied: str = "it was not shown that another process may fetch from it"
    """Why its fetching is tied to the processes in which the script does it; "" when a copy of them may."""
    pool: str = "it was not shown that a worker is after an epoch as it was before"
    """Why its workers cannot be kept for the next epoch; "" when they can."""
    start_s: float | None = None
    """Median time of making an iterator, which starts its workers."""
    fetch_s: float | None = None
    """Median time of fetching a batch, in the process that fetches; None when too few were seen, as below."""
    wait_s: float | None = None
    """Median time from asking for a batch to having it."""
    use_s: float | None = None
    """Median time from having a batch to asking for the next."""
    carry_s: float | None = None
    """The least time that receiving a batch from another process takes."""
    by_sampler: int | None = None
    """Samples in a batch where the script passes torch's own BatchSampler, and so no batch size."""

    @property
    def size(self) -> int | None:
        """Samples in a batch, however the script says it; None where no number does."""
        return self.batch_size or self.by_sampler

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
    foreach: bool | None
    """As the script says; None where it leaves it to torch."""
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
    gpus: tuple[str, ...] = ()
    """The models that NVIDIA's driver names, whether or not torch can use them."""
    huge_pages: str = ""
    """The kernel's mode of transparent huge pages: "always", "madvise" or "never"; "" when it does not say."""
    allocators: tuple[str, ...] = ()
    """Memory allocators that could be preloaded, see the knob."""
    nodes: tuple[int, ...] = ()
    """Logical cores in the affinity mask on each NUMA node, by its number; empty where that is not known."""


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
    cudnn_tf32: bool = False
    """The models hold convolutions or recurrent layers whose inputs cuDNN may round to TF32, as is its default."""


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
    """A call of a model was seen to draw random numbers in training, as dropout does."""
    manual_update: bool
    """No optimizer object: the script updates its weights by hand."""
    flops_per_step: int | None = None
    """Floating-point operations of a training step; None where they were not counted."""
    collecting_s: float = 0.0
    """Mean time in Python's garbage collector per step."""
    denormals: float = 0.0
    """Share of denormal numbers among weights, gradients and optimizer state."""
    habits: dict[str, float] = field(default_factory=dict)
    """Name of a call that the script makes around its steps to such calls per step, see `probes/habits.py`."""
    switches: dict[str, str] = field(default_factory=dict)
    """Debugging switches that were on, by name, with their value, see `probes/switches.py`."""
    capability: float = 0.0
    """CUDA compute capability of the device, such as 9.0; 0 without one."""
    device_node: int = -1
    """The NUMA node of the device; -1 where that is not known."""
    differentiates_twice: bool = False
    """The script's code asks for gradients that can be differentiated again, now or in a later step."""
    before_main: int = 0
    """Steps of smaller optimizers before the one whose step ends a step has made its first."""
    local_world_size: int = 0
    """Processes of the training on this machine; 0 where that is not known."""

    @property
    def ranks_here(self) -> int:
        """Processes of the training that share this machine's cores."""
        return max(1, min(self.local_world_size or self.world_size, self.world_size))

    @property
    def is_cuda(self) -> bool:
        """The training runs on a CUDA device."""
        return self.device != "cpu"
