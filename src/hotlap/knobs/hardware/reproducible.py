"""The same training twice, to the bit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hotlap.knobs.knob import Knob, When
from hotlap.records import Contract, Facts, Skip, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotlap.inside.host import Host


class Reproducible(Knob):
    """Make two runs of the training agree to the bit; for `--set reproducible=true` only.

    ## What it changes
    Python, numpy and torch start from seed 0, hashes too; a script that seeds itself keeps its seeds. Loader workers
    and `numpy.random.default_rng()` follow torch's seed. Deterministic algorithms are on, `cudnn.benchmark` is off,
    whatever the script sets later. In a real run an operation without a deterministic version warns and goes on.
    ## Why it can help
    Bugs come back, and runs can be compared. It makes nothing faster; what it costs is measured, and two trials must
    agree in every loss, and in weights and optimizer state, before a plan is written.
    ## When it cannot
    Training that depends on the time, on `os.urandom`, on threads that race, or on what was drawn before torch was
    imported: the check names the step and the tensor. Another machine, torch or number of threads: other bits.
    ## Source
    PyTorch's notes on reproducibility; torch.use_deterministic_algorithms documentation.
    """

    id: ClassVar[str] = "reproducible"
    area: ClassVar[str] = "hardware"
    contract: ClassVar[Contract] = Contract.ROUNDING
    when: ClassVar[When] = When.IMPORT
    conflicts: ClassVar[tuple[str, ...]] = ("cudnn-benchmark", "cudnn-deterministic", "deterministic-algorithms")
    suggested_only: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    def choices(self, facts: Facts) -> tuple[Value, ...] | Skip:
        """On, for whoever wants it."""
        return (True,)

    def environment(self, value: Value) -> dict[str, str]:
        """What is read before Python runs, by cuBLAS, and by a compiler that would choose kernels by the clock."""
        inductor = {"TORCHINDUCTOR_DETERMINISTIC": "1"}
        return {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", **inductor}

    def install(self, value: Value, host: Host) -> None:
        """Seed, set the switches and hold them against what the script sets later."""
        import torch

        from hotlap.inside import seeds

        seeds.begin(host)
        for name, wanted in (("benchmark", False), ("deterministic", True)):
            flag = vars(type(torch.backends.cudnn))[name]
            host.call(partial(flag.setter, wanted), partial(flag.setter, flag.getter()))
            for owner, setter in ((flag, "setter"), (torch._C, f"_set_cudnn_{name}")):
                host.wrap(owner, setter, lambda original, wanted=wanted: lambda *_: original(wanted))
        set_to, warns = torch._C._set_deterministic_algorithms, torch.is_deterministic_algorithms_warn_only_enabled()
        was = torch.are_deterministic_algorithms_enabled()
        # A trial is there to find out that an operation has no such version; a real training must not end for it.
        tolerant = host.task["purpose"] == "run"
        host.call(partial(set_to, True, warn_only=tolerant), partial(set_to, was, warn_only=warns))

        def on(original: Callable[..., Any]) -> Callable[..., Any]:
            return lambda mode, *, warn_only=False: original(True, warn_only=warn_only if mode else tolerant)

        host.wrap(torch._C, "_set_deterministic_algorithms", on)
        host.wrap(torch, "use_deterministic_algorithms", on)  # which tells the compiler as well
