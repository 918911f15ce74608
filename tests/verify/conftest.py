"""One judge for each script and its arguments."""

import itertools

import pytest
from scripts import SCRIPTS

from hotlap.arms import Arms
from hotlap.judge import Judge
from hotlap.records import Setup, Trial
from hotlap.target import resolve
from hotlap.trials import journals
from hotlap.trials.launch import best_tier
from hotlap.trials.runner import ProcessRunner


@pytest.fixture(scope="session")
def judge_of(tmp_path_factory):
    """From a script and its arguments to a function that judges knobs; noise arms are shared within a script."""
    judges = {}

    def judge(script, *arguments):
        key = (script, *arguments)
        if key not in judges:
            out = tmp_path_factory.mktemp(script.split(".")[0])
            target = resolve((str(SCRIPTS / script), *arguments), cwd=tmp_path_factory.mktemp("work"))
            runner = ProcessRunner(target, out, best_tier()[0])
            count = itertools.count(1)
            observed = runner.run(Trial("observe", "observe", Setup(), 0, 0, 40, 20.0))

            def run(trials):
                records = [runner.run(trial, observed.facts) for trial in trials]
                return [(record, journals.arm(runner.folder(record.trial))) for record in records]

            judges[key] = Judge(Arms(run, lambda purpose: f"{next(count):04d}-{purpose}", observed.facts, seed=1))
            judges[key].runner = runner
        return judges[key]

    return judge
