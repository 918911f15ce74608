"""A folder of JPEG files, augmented at random, with workers if asked for."""

import itertools
import os
import sys

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, img):
        for t in self.transforms:
            img = t(img)
        return img


resized = itertools.count()  # no number or list, whose change would be one of what the samples are made by


def resize(image):
    next(resized)
    return image.resize((96, 72), Image.BILINEAR)


def crop(image):
    x, y = torch.randint(0, 24, ()).item(), torch.randint(0, 8, ()).item()
    return image.crop((x, y, x + 64, y + 64))


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


class Photos(Dataset):
    def __init__(self, folder, transform):
        self.files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        self.transform = transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return self.transform(image), index % 3


def main():
    folder, workers = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(0)
    if not os.path.exists(folder):
        os.mkdir(folder)
        for number in range(40):
            pixels = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((400, 300)).save(os.path.join(folder, f"{number}.jpg"))
            os.utime(os.path.join(folder, f"{number}.jpg"), (10**9, 10**9))
    loader = DataLoader(Photos(folder, Compose([resize, crop, to_tensor])), 8, shuffle=True, num_workers=workers)
    net = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            print(loss.item(), x.sum().item(), flush=True)
    print(f"{next(resized)} images were resized in this process", file=sys.stderr)


if __name__ == "__main__":
    main()
