"""Its step waits for something that no setting can hasten: there is nothing to gain here."""

import time

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(4))
    for step in range(100_000):
        time.sleep(0.01)
        loss = ((weight - torch.randn(4)) ** 2).sum()
        loss.backward()
        with torch.no_grad():
            weight -= 0.01 * weight.grad
            weight.grad = None
        if step % 100 == 0:
            print(step, loss.item())


if __name__ == "__main__":
    main()
