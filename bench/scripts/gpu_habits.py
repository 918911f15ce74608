"""Small trainings on a CUDA device with one habit each: python bench/scripts/gpu_habits.py HABIT [STEPS].

What a training found out by itself it prints as one line of JSON after "FOUND".
"""

import json
import sys
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader, Dataset

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FIRST_TRACED, TRACED = 30, 5
SLEEP_S = 0.03
WORK = ("kernel", "gpu_memcpy", "gpu_memset")


class Convs(nn.Module):
    """Large convolutions, which keep the device busy from end to end."""

    def __init__(self, width=256, depth=6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x)
        for conv in self.body:
            x = functional.relu(conv(x))
        return self.head(x.mean((2, 3)))


class Counts(nn.Module):
    """Sums that a device takes in another order each time: atomic additions, forward and backward."""

    def __init__(self, rows=64, width=256):
        super().__init__()
        self.table = nn.Embedding(rows, width)
        self.layer = nn.Linear(width, width)
        self.head = nn.Linear(width, 10)
        self.rows = rows

    def forward(self, x):
        words = (x.flatten(1)[:, :2048] * 7919).long().remainder(self.rows)
        seen = self.table(words)
        summed = torch.zeros(len(x), self.rows, seen.shape[-1], device=x.device)
        summed = summed.scatter_add(1, words[..., None].expand_as(seen), seen)
        return self.head(torch.tanh(self.layer(summed)).mean(1))


class Attention(nn.Module):
    """Attention with a mask, over a length that leaves 64 when divided by 128, with scores that are all about -120."""

    def __init__(self, dtype, width=256, heads=4, length=192):
        super().__init__()
        self.project, self.head = nn.Linear(3, 3 * width), nn.Linear(width, 10)
        self.dtype, self.heads, self.length = dtype, heads, length

    def forward(self, x):
        rows = self.project(x.flatten(2).transpose(1, 2)[:, : self.length]).to(self.dtype)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in rows.chunk(3, -1))
        one = torch.ones_like(query[..., :1])
        query = torch.cat([one, query[..., 1:]], -1)
        key = torch.cat([-120 * key.shape[-1] ** 0.5 * one, key[..., 1:]], -1)
        mask = torch.ones(len(x), 1, self.length, self.length, dtype=torch.bool, device=x.device)
        mask[:, :, :, -7:] = False
        out = functional.scaled_dot_product_attention(query, key, value, mask)
        return self.head(out.transpose(1, 2).flatten(2).mean(1).to(self.head.weight.dtype))


def batches(count, rows, size):
    """Random images on the device, the same ones over and over."""
    draw = torch.Generator(DEVICE).manual_seed(0)
    kept = [torch.randn(rows, 3, size, size, generator=draw, device=DEVICE) for _ in range(4)]
    labels = [torch.randint(10, (rows,), generator=draw, device=DEVICE) for _ in range(4)]
    return ((kept[step % 4], labels[step % 4]) for step in range(count))


def train(model, steps, rows=64, size=32, after=None, source=None):
    """Plain steps that never read a number back; `after(step)` is called behind each."""
    torch.manual_seed(0)
    model = model().to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for step, (images, labels) in enumerate(source or batches(steps, rows, size), start=1):
        optimizer.zero_grad()
        with record_function("forward"):
            out = model(images)
        loss = functional.cross_entropy(out, labels)
        with record_function("backward"):
            loss.backward()
        with record_function("optimizer"):
            optimizer.step()
        if after:
            after(step)


def found(**what):
    print("FOUND", json.dumps(what), flush=True)


def trace_of(training):
    """Events of a profiler's trace of some steps of a training, which is given what to call behind each step."""
    tracer = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])

    def after(step):
        if step == FIRST_TRACED:
            torch.cuda.synchronize()
            tracer.start()
        if step == FIRST_TRACED + TRACED:
            torch.cuda.synchronize()
            tracer.stop()

    training(after)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        tracer.export_chrome_trace(str(path))
        return json.loads(path.read_text())["traceEvents"]


def traced(steps):
    """What a profiler says that each phase takes on the device [us]."""
    events = trace_of(lambda after: train(Convs, steps, rows=256, after=after))
    found(phases_us=spans_in(events), peak_bytes=torch.cuda.max_memory_allocated())


class Slow(Dataset):
    """Batches that take longer to make than to train on."""

    def __len__(self):
        return 1 << 20

    def __getitem__(self, place):
        time.sleep(SLEEP_S)
        return torch.full((64, 3, 32, 32), float(place % 4)), torch.full((64,), place % 10)


def starved(steps):
    """How long the device waits for its next batch, by a profiler [us]."""
    loader = ((images.to(DEVICE), labels.to(DEVICE)) for images, labels in DataLoader(Slow(), batch_size=None))
    events = trace_of(lambda after: train(Convs, steps, after=after, source=islice(loader, steps)))
    found(idle_us=idle_in(events))


def idle_in(events, least_us=1000.0):
    """Mean time a step [us] in which nothing ran on the device, of pauses that are no launch's."""
    work = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in WORK)
    pauses, until = [], work[0][1] if work else 0.0
    for began, ended in work:
        pauses.append(began - until)
        until = max(until, ended)
    long = [pause for pause in pauses if pause > least_us]
    return sum(long) / len(long) if long else None


def spans_in(events):
    """Mean time [us] from the start of the first kernel to the end of the last that a phase launched, on any thread."""
    work = {e["args"]["correlation"]: e for e in events if e.get("cat") in WORK}
    calls = [e for e in events if e.get("cat") in ("cuda_runtime", "cuda_driver") and e["args"]["correlation"] in work]
    spans = {"forward": [], "backward": [], "optimizer": []}
    for phase in (e for e in events if e.get("cat") == "user_annotation" and e["name"] in spans):
        own = [work[c["args"]["correlation"]] for c in calls if 0 <= c["ts"] - phase["ts"] <= phase["dur"]]
        if own:
            spans[phase["name"]].append(max(e["ts"] + e["dur"] for e in own) - min(e["ts"] for e in own))
    return {name: sum(times) / len(times) if times else None for name, times in spans.items()}


def unwaiting(steps):
    """It fails where anything waits for the device."""

    def after(step):
        if step == 12:
            torch.cuda.set_sync_debug_mode("error")

    train(Convs, steps, rows=32, after=after)
    torch.cuda.set_sync_debug_mode("default")
    found(waited=False)


def greedy(steps):
    """It asks for more memory than there is."""

    def after(step):
        if step == 20:
            torch.empty(1 << 40, dtype=torch.uint8, device=DEVICE)

    train(Convs, steps, rows=8, after=after)


HABITS = {
    "traced": traced,
    "starved": starved,
    "unwaiting": unwaiting,
    "greedy": greedy,
    "atomics": lambda steps: train(Counts, steps),
    "masked": lambda steps: train(partial(Attention, torch.bfloat16), steps),
    "masked-float32": lambda steps: train(partial(Attention, torch.float32), steps),
    "convs": lambda steps: train(Convs, steps, rows=64),
}

if __name__ == "__main__":
    HABITS[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 60)
