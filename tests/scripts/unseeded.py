"""Nothing is seeded: weights, shuffling, dropout, and noise from three libraries, in loader workers too."""

import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __init__(self):
        self.rng = np.random.default_rng()

    def __len__(self):
        return 128

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + self.rng.random()
        return torch.full((16,), index / 128) + noise + torch.rand(16), index % 2


def main():
    torch.backends.cudnn.benchmark = True
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        for inputs, labels in DataLoader(Noisy(), batch_size=16, shuffle=True, num_workers=2):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            print(epoch, loss.item(), flush=True)


if __name__ == "__main__":
    main()
