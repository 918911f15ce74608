"""What counts as a step, in every kind of training loop; each script is observed once and then timed."""

from __future__ import annotations

import pytest

from .conftest import Place, Ran

LOADER = "loader = DataLoader(TensorDataset(torch.randn(40, 4), torch.randn(40, 1)), batch_size=8)\n"
MODEL = "model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))\n"
SGD = "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)\n"
UPDATE = """
def update(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
"""
PLAIN = LOADER + MODEL + SGD + UPDATE


def sane(ran: Ran) -> None:
    """What holds for every recording."""
    steps = ran.record.steps
    for index, total in enumerate(steps.total_s):
        phases = [steps.phases_s[phase][index] for phase in steps.phases_s]
        assert total == pytest.approx(sum(phases))
        assert min(phases) >= 0
    assert len(steps.losses) == len(steps.samples) == len(steps.faults) == len(steps.total_s)
    assert ran.record.peak_bytes > 0
    assert not ran.record.failed_probes, ran.stderr


def both(place: Place, text: str) -> tuple[Ran, Ran]:
    """Observed and timed: the two find their boundaries in different ways, and must agree."""
    observed = place.observe(text)
    timed = place.trial(observed)
    for ran in (observed, timed):
        sane(ran)
    assert observed.record.steps.samples == timed.record.steps.samples
    assert observed.record.evaluations == timed.record.evaluations
    return observed, timed


def losses_are_printed(ran: Ran) -> None:
    assert ran.record.steps.losses == pytest.approx(ran.printed("loss"), rel=1e-5)


@pytest.mark.slow
def test_a_plain_loop_with_evaluation(place: Place) -> None:
    """Evaluation every epoch is part of no step, whether or not it remembers `no_grad`."""
    evaluation = """
        model.eval()
        with GRAD:
            for x, y in DataLoader(loader.dataset, batch_size=20):
                time.sleep(0.1)
                model(x)
        model.train()
    """
    text = PLAIN + "import time\nfor epoch in range(3):\n    for x, y in loader:\n        update(x, y)\n"
    for grad in ("torch.no_grad()", "torch.enable_grad()"):
        for ran in both(place, text + evaluation.replace("GRAD", grad).replace("\n    ", "\n")):
            assert ran.record.steps.samples == (8,) * 15
            losses_are_printed(ran)
            assert max(ran.record.steps.total_s[1:]) < 0.1
            assert ran.record.evaluation_s == pytest.approx(0.6, abs=0.2)
            assert ran.record.evaluations == 3
    assert ran.record.epoch_start_s > 0


@pytest.mark.slow
def test_epoch_steps_with_accumulation(place: Place) -> None:
    """Samples are counted over all backwards of a step; an epoch has as many steps as updates."""
    text = (
        PLAIN
        + """
for epoch in range(4):
    for k, (x, y) in enumerate(loader):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        print("loss", loss.item())
        if k % 5 == 4:
            optimizer.step()
            optimizer.zero_grad()
"""
    )
    for ran in both(place, text):
        printed = ran.printed("loss")
        assert ran.record.steps.samples == (40,) * 4
        assert ran.record.steps.losses == pytest.approx([sum(printed[i : i + 5]) / 5 for i in range(0, 20, 5)])


@pytest.mark.slow
def test_epoch_steps(place: Place) -> None:
    """The observed run knows the epoch, and ends early in the second one."""
    text = PLAIN + "for epoch in range(100):\n    for x, y in loader:\n        update(x, y)\n"
    observed = place.observe(text)

    assert observed.facts["epoch_steps"] == 5
    assert len(observed.record.steps.total_s) == 21
    assert observed.lines[-1]["kind"] == "end"


SAMPLERS = {
    "no loader": "for _ in range(6):\n    update(torch.randn(8, 4), torch.randn(8, 1))\n",
    "endless": """
def endless():
    while True:
        yield from loader
batches = endless()
for _ in range(6):
    update(*next(batches))
""",
    "by hand": "it = iter(loader)\nupdate(*next(it))\nfor _ in range(4):\n    update(*next(it))\nit = iter(loader)\n"
    "update(*next(it))\n",
    "early break": "for _ in range(3):\n    for k, (x, y) in enumerate(loader):\n        if k == 2:\n            "
    "break\n        update(x, y)\n",
    "keywords": "for x, y in [next(iter(loader))] * 6:\n    optimizer.zero_grad()\n    loss = model(input=x).mean()\n"
    "    loss.backward()\n    optimizer.step()\n    print('loss', loss.item())\n",
    "leaves at once": "import os\nfor _ in range(6):\n    update(*next(iter(loader)))\nimport sys\nsys.stdout.flush()\n"
    "os._exit(0)\n",
    "in evaluation mode": "model.train()\nupdate(*next(iter(loader)))\nmodel.eval()\nfor _ in range(5):\n"
    "    update(*next(iter(loader)))\n",
    "in a thread": "import threading\ndef main():\n    for _ in range(6):\n        update(*next(iter(loader)))\n"
    "thread = threading.Thread(target=main)\nthread.start()\nthread.join()\n",
    "scheduler": "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)\nfor _ in range(6):\n"
    "    update(*next(iter(loader)))\n    scheduler.step()\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", SAMPLERS)
def test_six_steps_of_eight(place: Place, way: str) -> None:
    """However the batches come, and however the script ends."""
    for ran in both(place, PLAIN + SAMPLERS[way]):
        losses_are_printed(ran)
        expected = (0, *(8,) * 5) if way == "in a thread" else (8,) * 6
        assert ran.record.steps.samples == expected


@pytest.mark.slow
def test_an_endless_dataset(place: Place) -> None:
    """A loader without a length gives no epoch."""
    text = """
class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.randn(4), torch.randn(1)
"""
    text += PLAIN + "for k, (x, y) in enumerate(DataLoader(Endless(), batch_size=8)):\n    update(x, y)\n"
    observed, timed = both(place, text + "    if k == 9:\n        break\n")

    assert observed.facts["epoch_steps"] is None
    assert timed.record.steps.samples == (8,) * 10


QUICK = ("by hand", "failing")
UPDATES = {
    "subclass": """
class Mine(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)
torch.optim.SGD([torch.zeros(1)], lr=0.1)
optimizer = Mine(model.parameters(), lr=0.01)
""",
    "own": """
class Mine(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p -= 0.01 * p.grad
optimizer = Mine(model.parameters())
""",
    "scaled": """
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
def update(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    print("loss", loss.item())
""",
    "scaler disabled": """
scaler = torch.amp.GradScaler("cpu", enabled=False)
def update(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    print("loss", loss.item())
""",
    "closure": """
def update(x, y):
    def closure():
        optimizer.zero_grad()
        closure.loss = nn.functional.mse_loss(model(x), y)
        closure.loss.backward()
        return closure.loss
    optimizer.step(closure)
    print("loss", closure.loss.item())
""",
    "by hand": """
del optimizer
def update(x, y):
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    print("loss", loss.item())
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.01 * p.grad
            p.grad = None
""",
    "by hand with grad": """
del optimizer
def update(x, y):
    loss = nn.functional.mse_loss(model(x), y)
    with torch.no_grad():
        for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
            p -= 0.01 * g
    print("loss", loss.item())
""",
    "checkpointed": """
from torch.utils.checkpoint import checkpoint
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    def forward(self, x):
        return checkpoint(self.layers, x.requires_grad_(), use_reentrant=True)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
""",
    "compiled": """
step = torch.compile(lambda: optimizer.step(), backend="eager")
def update(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    step()
    print("loss", loss.item())
""",
    "failing": """
def update(x, y):
    optimizer.zero_grad()
    try:
        optimizer.step(lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    try:
        model(torch.randn(8, 3))
    except RuntimeError:
        pass
    try:
        (model(x).sum() + model[0].weight.grad_fn).backward()
    except TypeError:
        pass
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
""",
    "rebuilt": """
def update(x, y):
    optimizer = torch.optim.Adam(model.parameters())
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print("loss", loss.item())
""",
}


@pytest.mark.parametrize("way", [w if w in QUICK else pytest.param(w, marks=pytest.mark.slow) for w in UPDATES])
def test_ten_updates(place: Place, way: str) -> None:
    """However the weights are updated: ten steps, with the script's own losses."""
    text = PLAIN.replace(SGD, "") if way.startswith("by hand") else PLAIN
    text += (
        UPDATES[way].replace("del optimizer\n", "")
        + "for _ in range(2):\n    for x, y in loader:\n        update(x, y)\n"
    )
    for ran in both(place, text):
        losses_are_printed(ran)
        assert len(ran.record.steps.samples) == 10
        assert way == "failing" or ran.record.steps.samples == (8,) * 10
    assert ran.record.processes == 1


def test_lbfgs(place: Place) -> None:
    """One step, however often it asks its closure; forward and backward keep their own time."""
    text = (
        PLAIN
        + """
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
import time
for _ in range(3):
    def closure():
        optimizer.zero_grad()
        time.sleep(0.01)
        loss = nn.functional.mse_loss(model(torch.ones(8, 4)), torch.ones(8, 1))
        loss.backward()
        return loss
    optimizer.step(closure)
"""
    )
    for ran in both(place, text):
        steps = ran.record.steps
        assert len(steps.total_s) == 3
        assert steps.samples[0] % 8 == 0
        assert steps.samples[0] > 8
        assert min(steps.phases_s["backward"]) > 0
        assert min(steps.phases_s["optimizer"]) > 0.01


@pytest.mark.slow
def test_two_optimizers(place: Place) -> None:
    """The one with more parameters ends the step; the samples are those of the root called least."""
    text = """
generator, critic = nn.Linear(2, 30), nn.Linear(30, 1)
small = torch.optim.Adam(critic.parameters())
large = torch.optim.Adam(generator.parameters())
for _ in range(5):
    for _ in range(2):
        small.zero_grad()
        (critic(torch.randn(8, 30)).mean() - critic(generator(torch.randn(8, 2)).detach()).mean()).backward()
        small.step()
    large.zero_grad()
    critic(generator(torch.randn(8, 2))).mean().backward()
    large.step()
"""
    for ran in both(place, text):
        assert len(ran.record.steps.total_s) == 5
        assert ran.record.steps.samples[1:] == (24,) * 4  # the first began anew at the generator's update
    optimizers = place.observe(text).facts["optimizers"]
    assert [(o["parameters"], o["main"]) for o in optimizers] == [(31, False), (90, True)]


@pytest.mark.slow
def test_bursts(place: Place) -> None:
    """Rollouts without gradients in between, then several updates in a row."""
    text = """
policy = nn.Linear(4, 2)
optimizer = torch.optim.Adam(policy.parameters())
for _ in range(3):
    with torch.no_grad():
        states = torch.randn(32, 4)
        for state in states:
            policy(state)
    for _ in range(4):
        optimizer.zero_grad()
        policy(states[:8]).mean().backward()
        optimizer.step()
"""
    for ran in both(place, text):
        assert ran.record.steps.samples == (8,) * 12
        assert ran.record.evaluation_s > 0


def test_a_target_network_is_part_of_the_step(place: Place) -> None:
    """Its time is forward, and what came before it keeps its phase."""
    text = (
        PLAIN
        + """
import time
class Slow(nn.Linear):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)
target = Slow(4, 1).eval()
for _ in range(3):
    for x, _ in loader:
        with torch.no_grad():
            y = target(x)
        update(x, y)
"""
    )
    for ran in both(place, text):
        assert ran.record.evaluation_s == 0
        assert ran.record.evaluations == 0
    steps = place.run(roots=[{"name": "__main__:Slow", "index": 0}]).record.steps
    assert min(steps.phases_s["forward"]) > 0.02
    assert max(steps.phases_s["data"]) < 0.02


@pytest.mark.slow
def test_a_full_batch_evaluated_after_every_step(place: Place) -> None:
    """Evaluation of the model that trains stays out of the step however often it happens."""
    text = (
        PLAIN
        + """
import time
x, y = loader.dataset.tensors
for _ in range(6):
    model.train()
    update(x, y)
    model.eval()
    with torch.inference_mode():
        time.sleep(0.03)
        model(x)
"""
    )
    for ran in both(place, text):
        assert max(ran.record.steps.total_s[1:]) < 0.03
        assert ran.record.evaluations == 6
        assert ran.record.evaluation_s > 0.15  # the last one, after the last step, is counted too


@pytest.mark.slow
def test_a_larger_optimizer_turns_up_later(place: Place) -> None:
    """What was counted before it were not the steps."""
    text = (
        PLAIN
        + """
for x, y in loader:
    update(x, y)
model = nn.Linear(4, 100)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
for _ in range(3):
    for x, y in loader:
        update(x, y.expand(8, 100))
"""
    )
    for ran in both(place, text):
        assert len(ran.record.steps.total_s) == 15
        assert ran.record.steps.losses == pytest.approx(ran.printed("loss")[5:], rel=1e-5)


def test_folds(place: Place) -> None:
    """A model and an optimizer of the same size for each fold: all of it is training, and nothing is kept alive."""
    text = (
        LOADER
        + UPDATE
        + """
import gc, weakref
made = []
for fold in range(3):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters())
    made.append(weakref.ref(optimizer))
    for x, y in loader:
        update(x, y)
del optimizer
gc.collect()
print("alive", sum(one() is not None for one in made))
"""
    )
    observed, timed = both(place, text)
    for ran in (observed, timed):
        assert len(ran.record.steps.total_s) == 15
        assert ran.printed("alive") == [0]
    assert len(observed.facts["optimizers"]) == 1


@pytest.mark.slow
def test_an_optimizer_after_a_trial_backward(place: Place) -> None:
    """A backward before there is an optimizer looks like an update by hand, until there is one."""
    text = PLAIN.replace(SGD, "model(torch.ones(8, 4)).sum().backward()\n" + SGD)
    for ran in both(place, text + "for x, y in loader:\n    update(x, y)\n"):
        assert len(ran.record.steps.total_s) == 5
        losses_are_printed(ran)


def test_a_failing_listener_costs_no_training(place: Place) -> None:
    """What a probe raises is written down, and the script goes on."""
    place.write(PLAIN + "for x, y in loader:\n    update(x, y)\nprint('done')\n")
    (place.cwd / "faulty.py").write_text(
        "class Faulty:\n    def install(self, value, host):\n"
        "        import hotlap.inside.steps as s\n"
        "        host.wrap(s.Recorder, '_begin', lambda f: lambda r: (r.on_end.append(lambda i: 1 / 0), f(r)))\n"
    )
    ran = place.run(settings=[["faulty:Faulty", True]])

    assert ran.code == 0
    assert "done" in ran.stdout
    assert ran.stderr.count("left out") == 1
    assert "ZeroDivisionError" in "".join(ran.record.failed_probes.values())
    assert len(ran.record.steps.total_s) == 5


@pytest.mark.parametrize("task", [{"steps": 7}, {"limit_s": 0.3}])
def test_a_trial_ends_on_its_budget(place: Place, task: dict[str, float]) -> None:
    """At once: nothing that the script would do at its end happens."""
    text = PLAIN + "import atexit, time\natexit.register(print, 'saved')\nwhile True:\n    time.sleep(0.01)\n"
    place.write(text + "    update(*next(iter(loader)))\n")
    ran = place.run(**task)

    assert ran.code == 0
    assert "saved" not in ran.stdout
    assert ran.lines[-1]["kind"] == "end"
    assert len(ran.record.steps.total_s) == 7 or "steps" not in task
    assert ran.record.steps.losses[:-1] == pytest.approx(ran.printed("loss"), rel=1e-5)
