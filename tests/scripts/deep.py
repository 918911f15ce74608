"""A deep residual network whose activations are most of its memory; with "flat", one that repeats no block.

A number is the steps to take, and the memory that it took in KiB is printed at the end.
"""

import resource
import sys

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.inner(self.norm(x))
        for _ in range(4):  # each keeps two tensors for the backward
            inner = inner * torch.sigmoid(inner)
        return x + inner


class Deep(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


width, samples = 16, 65536
flat = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
model = flat if "flat" in sys.argv else Deep(width, 16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
inputs = torch.randn(samples, width)
targets = inputs[:, :1].sin()
for _ in range(next((int(word) for word in sys.argv if word.isdigit()), 100_000)):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
