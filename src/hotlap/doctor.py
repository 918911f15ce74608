"""The machine, torch and its libraries, limits and measured ceilings, and what is wrong with them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hotlap.ceilings import Ceilings, ask, measure
from hotlap.errors import HotlapError
from hotlap.records import Machine
from hotlap.target import _interpreter
from hotlap.trials.launch import Tier, best_tier

if TYPE_CHECKING:
    from rich.console import Console

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY")
_ALLOCATOR = ("LD_PRELOAD", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "PYTORCH_ALLOC_CONF")
_OLDEST_TORCH = (2, 11)


@dataclass(frozen=True)
class Device:
    """An accelerator as torch sees it."""

    name: str
    capability: str
    memory_bytes: int


@dataclass(frozen=True)
class TorchBuild:
    """The training's torch."""

    version: str
    cuda: str
    """Version of CUDA that it was built with; "" for a build without."""
    hip: str
    cudnn: str
    cudnn_error: str
    cuda_works: bool
    architectures: tuple[str, ...]
    devices: tuple[Device, ...]
    cpu_capability: str
    mkldnn: bool
    threads: int


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver, and the newest CUDA that it serves."""

    version: str
    cuda: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What the doctor found."""

    executable: str
    python: str
    machine: Machine
    torch: TorchBuild | None
    torch_error: str
    driver: Driver | None
    gpus: int
    """NVIDIA display devices on the PCI bus, driver or not."""
    environment: dict[str, str]
    """The variables that govern threads and allocators, where set."""
    tier: Tier
    tier_obstacle: str
    """What is in the way of a stricter sandbox; "" for the strictest."""
    ceilings: Ceilings | None
    advice: tuple[str, ...]


def examine(python: str | None = None, *, ceilings: bool = True) -> Report:
    """Look at the machine and at the training's torch.

    Args:
        python: The training's interpreter; by default the active environment's.
        ceilings: Measure the machine's limits, for about three seconds.

    Raises:
        HotlapError: There is no such interpreter, or it cannot run Python code.
    """
    interpreter = _interpreter(python)
    answer = ask(interpreter, "about")
    machine = msgspec.convert(answer["machine"], Machine)
    torch = msgspec.convert(answer["torch"], TorchBuild) if "torch" in answer else None
    driver, gpus = _driver(), _gpus()
    environment = {name: os.environ[name] for name in (*_THREADS, *_ALLOCATOR) if os.environ.get(name)}
    tier, obstacle = best_tier()
    error = answer.get("torch_error", "")
    return Report(
        executable=answer["executable"],
        python=answer["python"],
        machine=machine,
        torch=torch,
        torch_error=error,
        driver=driver,
        gpus=gpus,
        environment=environment,
        tier=tier,
        tier_obstacle=obstacle,
        ceilings=_measured(interpreter) if ceilings and torch else None,
        advice=tuple(advice(machine, torch, error, driver, gpus, environment)),
    )


def advice(
    machine: Machine,
    torch: TorchBuild | None,
    torch_error: str,
    driver: Driver | None,
    gpus: int,
    environment: dict[str, str],
) -> list[str]:
    """What is wrong, one sentence each, the gravest first."""
    if torch is None:
        return [f"torch cannot be imported: {torch_error}. Install it, or name another interpreter with --python."]
    return [*_version_advice(torch), *_cuda_advice(torch, driver, gpus), *_thread_advice(machine, torch, environment)]


def _version_advice(torch: TorchBuild) -> list[str]:
    if numbers(torch.version) >= _OLDEST_TORCH:
        return []
    wanted = ".".join(map(str, _OLDEST_TORCH))
    return [f"torch {torch.version} is too old for hotlap, which needs {wanted} or newer."]


def _cuda_advice(torch: TorchBuild, driver: Driver | None, gpus: int) -> list[str]:
    found: list[str] = []
    if torch.hip:
        return found
    if torch.cudnn_error:
        found.append(f"cuDNN does not fit this torch: {torch.cudnn_error}")
    if not torch.cuda:
        if driver or gpus:
            found.append("This machine has an NVIDIA GPU, but torch is a CPU build: install a CUDA build to use it.")
        return found
    if driver is None:
        what = "there is a GPU but no NVIDIA driver" if gpus else "no NVIDIA GPU or driver was found"
        return [*found, f"torch is built for CUDA {torch.cuda}, but {what}: training runs on the CPU."]
    if numbers(torch.cuda)[0] > numbers(driver.cuda)[0]:
        found.append(
            f"torch is built for CUDA {torch.cuda}, but driver {driver.version} serves CUDA {driver.cuda} at most: "
            "update the driver or install a build for that version."
        )
    elif not torch.cuda_works:
        found.append(
            f"torch is built for CUDA {torch.cuda} and driver {driver.version} is there, but torch finds no usable "
            "device: look at CUDA_VISIBLE_DEVICES and at the container's devices."
        )
    return found + [
        f"torch has no kernels for {device.name} (compute capability {device.capability}; it has "
        f"{', '.join(torch.architectures)}): install a build that has."
        for device in torch.devices
        if not covers(torch.architectures, device.capability)
    ]


def _thread_advice(machine: Machine, torch: TorchBuild, environment: dict[str, str]) -> list[str]:
    found: list[str] = []
    omp = environment.get("OMP_NUM_THREADS", "")
    if omp == "1" and machine.cores > 1:
        found.append(
            f"OMP_NUM_THREADS=1 leaves {machine.cores - 1} of {machine.cores} cores idle; unset it, or raise it."
        )
    if machine.quota is not None and torch.threads > max(1, machine.quota):
        found.append(
            f"torch runs {torch.threads} threads, but the control group's quota is {machine.quota:g} cores: set "
            f"OMP_NUM_THREADS={max(1, int(machine.quota))}."
        )
    if torch.threads > machine.threads:
        found.append(
            f"torch runs {torch.threads} threads on the {machine.threads} cores that this process may use: set "
            f"OMP_NUM_THREADS={machine.cores}."
        )
    return found


def covers(architectures: tuple[str, ...], capability: str) -> bool:
    """Whether a build's kernels run on a device: same major version and no newer, or code to be translated (PTX).

    >>> covers(("sm_80", "sm_90"), "8.6"), covers(("sm_80",), "9.0"), covers(("sm_80", "compute_80"), "9.0")
    (True, False, True)
    """
    major, minor = numbers(capability)
    for architecture in architectures:
        kind, _, version = architecture.partition("_")
        digits = "".join(c for c in version if c.isdigit())
        have = (int(digits[:-1]), int(digits[-1]))
        if kind == "sm" and have[0] == major and have[1] <= minor:
            return True
        if kind == "compute" and have <= (major, minor):
            return True
    return not architectures


def numbers(version: str) -> tuple[int, int]:
    """Major and minor number.

    >>> numbers("2.13.0+cu130"), numbers("13")
    ((2, 13), (13, 0))
    """
    parts = [int("".join(c for c in part if c.isdigit()) or 0) for part in version.split("+")[0].split(".")]
    return parts[0], parts[1] if len(parts) > 1 else 0


def _measured(python: str) -> Ceilings | None:
    """The ceilings; a torch that cannot multiply is seen elsewhere in the report."""
    try:
        return measure(python)
    except HotlapError:
        return None


def _driver() -> Driver | None:
    """The NVIDIA driver by its management library; None without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return Driver(
            version=str(pynvml.nvmlSystemGetDriverVersion()),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            devices=tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles),
        )
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _gpus(bus: Path = Path("/sys/bus/pci/devices")) -> int:
    """NVIDIA display controllers on the PCI bus."""
    found = 0
    for device in bus.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        found += vendor == "0x10de" and kind.startswith("0x03")
    return found


def print_doctor(console: Console, report: Report) -> None:
    """Print it, advice last, where the eye ends."""
    from hotlap.doctor_view import doctor_view

    console.print(doctor_view(report))
