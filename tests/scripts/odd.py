"""Trainings that are not one loader, one model and one `optimizer.step()`; the argument says which."""

import sys
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Batch:
    inputs: torch.Tensor
    labels: torch.Tensor


def gathered(samples):
    inputs, labels = zip(*samples)
    return Batch(torch.stack(inputs), torch.stack(labels))


def main(kind):
    torch.manual_seed(0)
    x, y = torch.randn(400, 12), torch.randint(0, 5, (400,))
    generator = torch.Generator()
    if kind == "unseeded":
        generator.seed()
    loader = DataLoader(
        TensorDataset(x, y), 16, shuffle=True, generator=generator, collate_fn=gathered if kind == "dataclass" else None
    )
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5))
    criterion = nn.CrossEntropyLoss()
    if kind == "lbfgs":
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    elif kind in ("two", "after"):
        optimizer = torch.optim.Adam(model[0].parameters(), lr=1e-3)
        other = torch.optim.SGD(model[2].parameters(), lr=0.1)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2) if kind != "by-hand" else None

    for _ in range(50):
        for batch in loader:
            inputs, labels = (batch.inputs, batch.labels) if kind == "dataclass" else batch

            def closure(inputs=inputs, labels=labels):
                model.zero_grad()
                loss = criterion(model(inputs), labels)
                loss.backward()
                return loss

            if kind in ("lbfgs", "closure"):
                optimizer.step(closure)
                continue
            for _ in range(2 if kind == "two" else 0):
                closure()
                other.step()
            closure()
            if kind == "by-hand":
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= 0.1 * parameter.grad
            else:
                optimizer.step()
            if kind == "after":
                other.step()


main(sys.argv[1])
