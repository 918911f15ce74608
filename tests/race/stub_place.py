"""A place of a cluster where trainings are formulas; on its node it is imported from here."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from pathlib import Path

from hotlap.race.simulated import SimulatedRunner, Truth
from hotlap.records import Facts, Recording, Trial
from hotlap.trials.place import Looked, Place
from race.field import FACTS

TRUTHS = {"script": Truth(), "adamw": Truth(), "nesterov": Truth(best_lr=0.1), "muon": Truth(2.0, 2e-3, 1.1)}
WAITS, DIES = "waits", "dies"
"""Options of a trial: a file that it waits for; and one with a letter for each time that it ran, of which it dies the
first `times`."""


class StubPlace(Place):
    """Runs no process; says in the recording's log on which node it stands."""

    def look(self) -> Looked:
        """All nodes are alike."""
        return Looked(kind=(("torch", "2.13.0"),))

    def run(self, trial: Trial, facts: Facts | None) -> Recording:
        """In any time, so that nothing can be had from the order of arrival."""
        import ray

        with self._busy:
            options = dict(trial.options)
            time.sleep(random.uniform(0, 0.02))
            if DIES in options:
                died = Path(str(options[DIES]))
                with died.open("a") as file:
                    file.write("x")
                if died.stat().st_size <= int(options["times"]):
                    os._exit(1)
            if WAITS in options:
                awaited = Path(str(options[WAITS]))
                awaited.with_suffix(f".{trial.id}").touch()
                while not self._stopped and not awaited.exists():
                    time.sleep(0.02)
            runner = SimulatedRunner(self._work.target, self._work.out, FACTS, TRUTHS)
            record = runner.run(trial, facts)
            return replace(record, log=ray.get_runtime_context().get_node_id())

    def stop(self) -> None:
        """Note that it was asked to."""
        self._stopped = True
        with self._busy:
            (self._work.out / f"stopped-{os.getpid()}").touch()
