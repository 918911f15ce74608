"""ResNet-18 for small pictures, 3x32x32 at batch 128, in the form usual for CIFAR-10: 3x3 stem, no max-pool.

python bench/gpu/resnet18.py
python bench/gpu/resnet18.py --width 8 --batch-size 32 --samples 3200 --epochs 1    # on a CPU
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

CLASSES, SIZE, POOL = 10, 32, 10_000


class Pictures(Dataset):
    """A texture for each class, shifted about under noise, from a pool that comes round; one label in ten is wrong."""

    def __init__(self, samples, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.samples = samples
        labels = torch.randint(0, CLASSES, (POOL,), generator=generator)
        textures = torch.randn(CLASSES, 3, SIZE // 4, SIZE // 4, generator=generator)
        textures = nn.functional.interpolate(textures, size=(SIZE, SIZE), mode="bilinear")
        shifts = torch.randint(0, SIZE, (SIZE, 2), generator=generator).tolist()
        images = torch.randn(POOL, 3, SIZE, SIZE, generator=generator).mul_(48)
        for i, shift in enumerate(shifts):
            images[i::SIZE] += 40 * torch.roll(textures, shift, (-2, -1))[labels[i::SIZE]]
        self.images = images.add_(128).clamp_(0, 255).to(torch.uint8)
        wrong = torch.rand(samples, generator=generator) < 0.1
        any_label = torch.randint(0, CLASSES, (samples,), generator=generator)
        self.labels = torch.where(wrong, any_label, labels[torch.arange(samples) % POOL])

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        image = self.images[index % POOL].float() / 255
        return (image - 0.5) / 0.25, self.labels[index]


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        layers, inputs = [], width
        for stage in range(4):
            outputs = width * 2**stage
            layers += [BasicBlock(inputs, outputs, 1 if stage == 0 else 2), BasicBlock(outputs, outputs, 1)]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layers(x)
        x = nn.functional.adaptive_avg_pool2d(x, 1)
        return self.fc(x.flatten(1))


loss_fn = nn.CrossEntropyLoss()


def build(width=64):
    return ResNet18(width)


def make_batch(batch_size=128, seed=0):
    """The first samples as one batch: images (batch, 3, 32, 32) and labels (batch,), on the CPU."""
    data = Pictures(batch_size, seed)
    return default_collate([data[i] for i in range(batch_size)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = DataLoader(Pictures(args.samples, args.seed), batch_size=args.batch_size, shuffle=True)
    model = build(args.width).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)

    for epoch in range(1, args.epochs + 1):
        for step, (x, y) in enumerate(loader, start=1):
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            if step % 50 == 0:
                print(f"epoch {epoch}, step {step}: loss {loss.item():.4f}", flush=True)
        print(f"epoch {epoch}: loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
