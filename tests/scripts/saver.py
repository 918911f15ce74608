"""Goes on from a checkpoint if it is given one, and saves another: weights, running statistics, optimizer state."""

import argparse

import torch
from torch import nn


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--load")
    parser.add_argument("--save", required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    x, y = torch.randn(64, 3, 16, 16), torch.randint(0, 10, (64,))
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    if args.load:
        saved = torch.load(args.load, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    for step in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[step * 8 : step * 8 + 8]), y[step * 8 : step * 8 + 8])
        loss.backward()
        optimizer.step()
        print(f"loss {loss.item():.5f}")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, args.save)


if __name__ == "__main__":
    main()
