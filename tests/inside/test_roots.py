"""What a root's call goes through, in this process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from hotlap.inside.host import Host
from hotlap.inside.journal import Journal

host = Host(Journal(None), {"purpose": "PURPOSE"})


def broken(root, call):
    def failing(*args, **kwargs):
        raise RuntimeError("no compiler")

    return failing


host.rewrite_roots(broken, 0)
host.roots.install({("torch.nn.modules.linear:Linear", 0): None})
model = torch.nn.Linear(2, 1)
for _ in range(2):
    model(torch.ones(1, 2)).sum().backward()
print("trained", model.weight.grad.tolist())
with torch.no_grad():
    print("evaluated", tuple(model(torch.ones(3, 2)).shape))
host.undo()
print("left", "_compiled_call_impl" in vars(model))
"""


@pytest.mark.parametrize(("purpose", "code"), [("run", 0), ("time", 1)])
def test_a_setting_that_fails_costs_a_trial_and_never_a_training(purpose: str, code: int) -> None:
    """The real training goes on as written, and says so; a trial fails, for that is what it is there to find out."""
    program = PROGRAM.replace("PURPOSE", purpose)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == code, done.stderr
    assert "no compiler" in done.stderr
    if purpose == "run":
        assert "trained [[2.0, 2.0]]" in done.stdout
        assert "evaluated (3, 1)" in done.stdout
        assert "left False" in done.stdout
