"""A small training with one habit that costs time: each is what a knob is there for.

python bench/scripts/habits.py HABIT
"""

import argparse
import gc

import torch
from torch import nn
from torch.distributions import Categorical
from torch.utils.checkpoint import checkpoint

HABITS = ("collects", "checkpoints", "anomaly", "deterministic", "zeroes", "distributions", "nadam", "deep")


class Block(nn.Module):
    def __init__(self, width, saves_memory):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rise, self.fall = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.saves_memory = saves_memory

    def inner(self, x):
        return self.fall(nn.functional.gelu(self.rise(self.norm(x))))

    def forward(self, x):
        return x + (checkpoint(self.inner, x, use_reentrant=False) if self.saves_memory else self.inner(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("habit", choices=HABITS)
    parser.add_argument("--steps", type=int, default=100_000)
    habit, steps = vars(parser.parse_args()).values()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(habit == "deterministic")
    torch.autograd.set_detect_anomaly(habit == "anomaly")
    rows, width, blocks = (64, 64, 24) if habit in ("nadam", "deep") else (512, 128, 4)
    net = nn.Sequential(*(Block(width, habit == "checkpoints") for _ in range(blocks)), nn.Linear(width, 10))
    kind = torch.optim.NAdam if habit == "nadam" else torch.optim.SGD
    optimizer = kind(net.parameters(), lr=1e-3)
    x, labels = torch.randn(rows, width), torch.randint(0, 10, (rows,))
    samples = [(i, [str(i)]) for i in range(200_000 if habit == "collects" else 0)]  # as a dataset in Python holds them
    for step in range(steps):
        if habit == "collects":
            gc.collect()
        optimizer.zero_grad(set_to_none=habit != "zeroes")
        out = net(x)
        loss = nn.functional.cross_entropy(out, labels)
        if habit == "distributions":
            loss = loss - 0.01 * sum(Categorical(logits=part).entropy().mean() for part in out.chunk(16))
        loss.backward()
        optimizer.step()
        if step % 500 == 0:
            print(f"step {step}: loss {loss.item():.4f}, {len(samples)} samples", flush=True)


if __name__ == "__main__":
    main()
