"""Train a small convolutional network to read handwritten digits.

python examples/prepare.py    # once
python examples/images.py --epochs 3
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

DATA = Path(__file__).resolve().parent / "data" / "images"

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.05}),
    "momentum": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 1e-4}),
    "adam": (torch.optim.Adam, {"lr": 1e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3}),
}


class Digits(Dataset):
    """Scans of handwritten digits, 3x28x28, from 0 to 1."""

    def __init__(self, split):
        self.images = torch.from_numpy(np.load(DATA / f"{split}_images.npy")).float() / 255
        self.labels = torch.from_numpy(np.load(DATA / f"{split}_labels.npy"))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 128, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(128 * 7 * 7, 1000)
        self.fc2 = nn.Linear(1000, 10)

    def forward(self, x):
        x = self.pool(nn.functional.relu(self.conv1(x)))
        x = self.pool(nn.functional.relu(self.conv2(x)))
        x = x.view(-1, 128 * 7 * 7)
        x = nn.functional.relu(self.fc1(x))
        return self.fc2(x)


def train(model, loader, criterion, optimizer, device):
    """One epoch; returns the mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


def test(model, loader, device):
    """The share of images that are read correctly."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            correct += (model(images).argmax(dim=1) == labels).sum().item()
    return correct / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description="Train a network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not DATA.exists():
        raise SystemExit(f"there is no data in {DATA}; run: python examples/prepare.py")

    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"

    train_loader = DataLoader(Digits("train"), batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(Digits("test"), batch_size=args.batch_size)
    model = Net().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer_class, settings = OPTIMIZERS[args.optimizer]
    optimizer = optimizer_class(model.parameters(), **settings)

    for epoch in range(1, args.epochs + 1):
        loss = train(model, train_loader, criterion, optimizer, device)
        accuracy = test(model, test_loader, device)
        print(f"epoch {epoch}: train loss {loss:.4f}, test accuracy {accuracy:.3f}", flush=True)
    print(f"test accuracy {test(model, test_loader, device):.3f}")


if __name__ == "__main__":
    main()
