"""ResNet-50 (v1.5) on made-up photographs of 1000 classes, 3x224x224 at batch 64, as a tutorial writes it.

python bench/gpu/resnet50.py
python bench/gpu/resnet50.py --image-size 32 --batch-size 8 --samples 160 --classes 10 --workers 0    # on a CPU
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

POOL, NOISES = 2048, 16  # different photographs held in memory; different noises laid over them
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Photographs(Dataset):
    """A mosaic of 7x7 colours for each class, under noise, from a pool that comes round; one label in ten is wrong."""

    def __init__(self, samples, image_size=224, classes=1000, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.samples = samples
        labels = torch.arange(POOL) % classes
        mosaics = torch.randint(0, 192, (classes, 3, 7, 7), dtype=torch.uint8, generator=generator)
        self.images = nn.functional.interpolate(mosaics[labels], size=(image_size, image_size))
        noises = torch.randint(0, 64, (NOISES, 3, image_size, image_size), dtype=torch.uint8, generator=generator)
        self.images.view(-1, *noises.shape).add_(noises)
        wrong = torch.rand(samples, generator=generator) < 0.1
        any_label = torch.randint(0, classes, (samples,), generator=generator)
        self.labels = torch.where(wrong, any_label, labels[torch.arange(samples) % POOL])

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        image = self.images[index % POOL].float() / 255
        return (image - MEAN) / STD, self.labels[index]


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)  # v1.5: the stride is here
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + identity)


class ResNet50(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        layers, inputs = [], 64
        for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, stride if block == 0 else 1))
                inputs = 4 * width
        self.layers = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(self.layers(x)).flatten(1))


loss_fn = nn.CrossEntropyLoss()


def build(classes=1000):
    return ResNet50(classes)


def make_batch(batch_size=64, image_size=224, classes=1000, seed=0):
    """The first samples as one batch: images (batch, 3, size, size) and labels (batch,), on the CPU."""
    data = Photographs(batch_size, image_size, classes, seed)
    return default_collate([data[i] for i in range(batch_size)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=51_200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.025)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = Photographs(args.samples, args.image_size, args.classes, args.seed)
    loader = DataLoader(data, batch_size=args.batch_size, shuffle=True, num_workers=args.workers)
    model = build(args.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)

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
