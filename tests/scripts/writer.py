"""Writes, overwrites, renames and deletes: in its folder, beside its script and at an absolute path elsewhere."""

import os
import sys
import tempfile

import torch
from torch import nn


def main():
    elsewhere = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if os.path.exists("model.pt"):
        raise SystemExit("resumed from what an earlier trial left")
    for step in range(3000):
        loss = model(torch.randn(16, 8)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == 3:
            torch.save(model.state_dict(), "model.pt")
            torch.save(model.state_dict(), os.path.join(elsewhere, "model.pt"))
            with open("keep.txt", "w") as file:
                file.write("overwritten")
            with open(os.path.join(here, "beside.log"), "a") as file:
                file.write("a line")
            os.makedirs("logs", exist_ok=True)
            if os.path.exists("old.txt"):
                os.remove("old.txt")
                os.rename("renamed.txt", "other.txt")
            with open(os.path.join(elsewhere, "keep.txt"), "w") as file:
                file.write("overwritten")
            with open(os.path.join(tempfile.gettempdir(), "hotlap-test-writer.txt"), "w") as file:
                file.write("in the temporary folder")


if __name__ == "__main__":
    main()
