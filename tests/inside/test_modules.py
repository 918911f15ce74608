"""What each module costs, in small trainings whose costs can be worked out by hand."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

from inside.conftest import Place, Ran

STEPS = 40
LOOP = """
optimizer = torch.optim.Adam(model.parameters())
for _ in range(40):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), torch.zeros(())).backward()
    optimizer.step()
"""
BLOCKS = """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 64)
    def forward(self, x):
        return x + torch.sin(self.inner(x))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(64, 16)
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)
model, x = Net(), torch.randn(32, 64)
"""
PRODUCT = 2 * 32 * 64 * 64
_LOST = 0.2  # of steps of a tenth of a millisecond, between two clocks; bench/module_times.py asks for 5 % of real ones


def followed(place: Place, text: str, *, whole: bool = False, steps: int = 0) -> Ran:
    """A traced trial of the script, after an observed one."""
    observed = place.observe(text)
    ran = place.trial(observed, purpose="modules", steps=steps, options={"whole": whole})
    assert "modules" in ran.record.seen, ran.stderr
    assert not ran.record.failed_probes
    return ran


def owners(ran: Ran) -> dict[str, dict[str, Any]]:
    """What was seen of each, by name; a root by its class."""
    return {owner["name"] or owner["kind"]: owner for owner in ran.record.seen["modules"]["owners"]}


def test_operations_belong_to_the_module_that_does_them(place: Place) -> None:
    """Forward and backward, exactly; what a block does itself is not its linear layer's."""
    seen = owners(followed(place, BLOCKS + LOOP))

    # The first layer's input needs no gradient.
    assert seen["blocks.0.inner"]["flops"] == [PRODUCT, PRODUCT]
    assert seen["blocks.1.inner"]["flops"] == [PRODUCT, 2 * PRODUCT]
    assert seen["head"]["flops"] == [2 * 32 * 64 * 16, 2 * 2 * 32 * 64 * 16]
    assert seen["blocks.1"]["flops"] == [0, 0]
    # sin reads and writes 32 x 64 numbers, the sum reads two of them and writes one.
    assert seen["blocks.1"]["moved_bytes"][0] == 5 * 32 * 64 * 4
    assert seen["blocks.1"]["calls"] == 1
    assert seen["optimizer"]["moved_bytes"][0] > 0


@pytest.mark.alone
def test_times_of_all_owners_are_the_phases(place: Place) -> None:
    """Forward and backward of the traced steps are divided among the owners, and nothing of them is lost."""
    record = followed(place, BLOCKS + LOOP).record
    seen = record.seen["modules"]
    traced = [number - 1 for number in seen["traced"]]
    modules = [owner for owner in seen["owners"] if owner["root"] >= 0]
    phases = {name: sum(values[n] for n in traced) for name, values in record.steps.phases_s.items()}
    forward_s = sum(owner["spent_ns"][0] for owner in modules) / 1e9
    backward_s = sum(owner["spent_ns"][1] for owner in seen["owners"]) / 1e9

    assert traced == list(range(12, STEPS, 2))
    assert forward_s + seen["ours_ns"][0] / 1e9 == pytest.approx(phases["forward"], rel=_LOST)
    assert backward_s + seen["ours_ns"][1] / 1e9 == pytest.approx(phases["backward"], rel=_LOST)
    assert all(min(owner["spent_ns"]) >= 0 for owner in seen["owners"])
    assert all(owner["spent_ns"][0] > 0 for owner in modules if owner["name"] != "blocks")


def test_a_slow_module_is_found_in_both_directions(place: Place) -> None:
    """One layer waits in its forward, another one in its backward."""
    seen = owners(
        followed(
            place,
            """
import time
class Wait(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.02)
        return gradient
class Late(nn.Linear):
    def forward(self, x):
        return Wait.apply(super().forward(x))
class Slow(nn.Linear):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)
model, x = nn.Sequential(nn.Linear(8, 8), Slow(8, 8), Late(8, 8), nn.Linear(8, 2)), torch.randn(4, 8)
"""
            + LOOP,
        )
    )
    times = {name: owner["spent_ns"] for name, owner in seen.items()}

    assert max(times, key=lambda name: times[name][1]) == "2"
    assert max((n for n in times if n != "elsewhere"), key=lambda name: times[name][0]) == "1"
    assert times["2"][1] > 14 * 0.02e9
    assert times["1"][0] > 14 * 0.02e9


@pytest.mark.slow
def test_what_is_recomputed_in_the_backward_is_backward(place: Place) -> None:
    """Both ways of checkpointing, one of which runs a backward inside the backward."""
    for reentrant in (True, False):
        text = BLOCKS.replace("x = block(x)", f"x = checkpoint(block, x, use_reentrant={reentrant})")
        text = "from torch.utils.checkpoint import checkpoint\n" + text.replace(
            "randn(32, 64)", "randn(32, 64, requires_grad=True)"
        )
        seen = owners(followed(place, text + LOOP))

        assert seen["blocks.1.inner"]["flops"] == [PRODUCT, 3 * PRODUCT]
        assert seen["blocks.1.inner"]["spent_ns"][1] > 0


def test_evaluation_is_nobodys_and_a_second_network_is_its_own(place: Place) -> None:
    """Names carry the network where there are two; calls without gradients cost no owner anything."""
    ran = followed(
        place,
        """
import time
class Noted(nn.Linear):
    def forward(self, x):
        if not torch.is_grad_enabled():
            time.sleep(0.01)
        return super().forward(x)
first, second, x = nn.Sequential(Noted(8, 8)), nn.Sequential(Noted(8, 8), nn.Linear(8, 2)), torch.randn(4, 8)
optimizer = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
for _ in range(40):
    optimizer.zero_grad()
    second(first(x)).pow(2).mean().backward()
    optimizer.step()
    with torch.no_grad():
        second(first(x))
""",
    )
    seen = ran.record.seen["modules"]
    modules = [owner for owner in seen["owners"] if owner["root"] >= 0]

    assert seen["labels"] == ["first", "second"]
    assert [(o["root"], o["name"]) for o in modules] == [(0, ""), (0, "0"), (1, ""), (1, "0"), (1, "1")]
    assert sum(owner["spent_ns"][0] for owner in modules) / len(seen["traced"]) < 0.01e9


@pytest.mark.slow
def test_a_compiled_model_is_followed_as_a_whole(place: Place) -> None:
    """No further graph is compiled for it, and operations are those of the modules as written."""
    text = BLOCKS + "model = torch.compile(model, backend='aot_eager')\n" + LOOP
    ran = followed(place, text, whole=True)
    seen = owners(ran)
    record = ran.record

    assert record.steps.compiles == (1,) * STEPS
    assert sum(seen["OptimizedModule"]["flops"]) == 8 * PRODUCT + 3 * 2 * 32 * 64 * 16
    assert min(seen["OptimizedModule"]["spent_ns"]) > 0
    traced = [number - 1 for number in record.seen["modules"]["traced"]]
    forward_s = fmean(record.steps.phases_s["forward"][n] for n in traced)
    spent_s = seen["OptimizedModule"]["spent_ns"][0] / len(traced) / 1e9
    assert forward_s / 2 < spent_s < 1.1 * forward_s  # what is between them grows where other programs run


def test_memory_is_that_of_the_tensors(place: Place) -> None:
    """Parameters, gradients, both moments of Adam, and what the graph keeps, to the byte."""
    ran = followed(place, BLOCKS + LOOP, steps=14)
    seen, held = owners(ran), ran.record.seen["held"]
    inner, head = 4 * (64 * 64 + 64), 4 * (64 * 16 + 16)
    steps = 4 * 8  # one number for each of eight parameters

    assert held["backward"]["parameters"] == 3 * inner + head
    assert held["backward"]["gradients"] == 0
    assert held["update"]["gradients"] == 3 * inner + head
    assert held["update"]["optimizer_state"] == 2 * (3 * inner + head) + steps
    assert held["state"] == {"step": steps, "exp_avg": 3 * inner + head, "exp_avg_sq": 3 * inner + head}
    kept = 4 * 32 * 64  # a layer keeps its input, a sine its own
    assert seen["blocks.0.inner"]["saved_bytes"] == kept
    assert seen["blocks.1"]["saved_bytes"] == kept
    assert held["backward"]["activations"] == sum(owner["saved_bytes"] for owner in seen.values())
    assert held["of_a_step"]
    assert held["peak_bytes"] > held["imported_bytes"] > 0


def test_a_failing_look_costs_the_script_nothing(place: Place) -> None:
    """Tensors of a class that refuses to be looked at are left out."""
    ran = followed(
        place,
        """
class Odd(torch.Tensor):
    @property
    def device(self):
        raise ZeroDivisionError
kept = torch.zeros(4).as_subclass(Odd)
"""
        + BLOCKS
        + LOOP
        + "print('done 1')\n",
    )

    assert ran.printed("done") == [1]
    assert ran.record.seen["held"]["backward"]["kept"] > 0
