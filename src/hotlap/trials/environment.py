"""The environment of the user's process in a trial and in a real run."""

from __future__ import annotations

import os
from pathlib import Path

UNTIMED = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Where nothing is timed, threads leave their cores to other trials while they wait.

No number changes by that, so it takes the place of what the user or a knob has set.
"""
STARTUP = Path(__file__).parent.parent / "inside" / "startup"

_TRACKERS_OFF = {
    "WANDB_MODE": "disabled",
    "NEPTUNE_MODE": "debug",
    "SWANLAB_MODE": "disabled",
    "CLEARML_OFFLINE_MODE": "1",
    "COMET_MODE": "disabled",
    "MPLBACKEND": "Agg",
}


def entered(task: Path, journal: Path | None) -> dict[str, str]:
    """The user's environment with the start-up folder first on PYTHONPATH.

    Args:
        task: The file that tells the inside what to do.
        journal: Where it writes; None under `hotlap run`.
    """
    environment = dict(os.environ)
    rest = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(STARTUP), rest] if rest else [str(STARTUP)])
    environment["HOTLAP_TASK"] = str(task)
    environment.pop("HOTLAP_JOURNAL", None)
    if journal is not None:
        environment["HOTLAP_JOURNAL"] = str(journal)
    return environment


def for_trial(
    task: Path, journal: Path, seed: int, scratch: Path, knobs: dict[str, str], *, has_bytecode: bool = True
) -> dict[str, str]:
    """Besides that: trackers off, the hash seed fixed by the trial's, compile caches shared between trials.

    Args:
        task: See `entered`.
        journal: See `entered`.
        seed: Seed of the trial; both arms of a pair have the same.
        scratch: hotlap's own folder; the script's environment of caches points there.
        knobs: What the knobs that take hold at process start ask for.
        has_bytecode: Whether torch's is at hand. Where it is not, as in many container images, every start would
            compile all of torch anew; trials share one cache of it instead.
    """
    environment = entered(task, journal)
    environment.update(_TRACKERS_OFF)
    environment["MLFLOW_TRACKING_URI"] = (scratch / "mlflow").as_uri()
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(scratch / "inductor"))
    environment.setdefault("TRITON_CACHE_DIR", str(scratch / "triton"))
    if not has_bytecode:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(scratch / "bytecode")
    environment.update(knobs)
    environment["PYTHONHASHSEED"] = str(seed % 2**32)  # also in the place of a knob's: a pair iterates over sets alike
    return environment
