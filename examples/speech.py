"""Train a small convolutional network to recognise spoken words.

python examples/prepare.py    # once
python examples/speech.py --epochs 8
"""

import argparse
import wave
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

DATA = Path(__file__).resolve().parent / "data" / "speech"

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "momentum": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 1e-3}),
    "adam": (torch.optim.Adam, {"lr": 2e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 2e-3}),
}


def mel_filters(bands, n_fft, rate):
    """Triangles evenly spaced on the mel scale, (bands, n_fft // 2 + 1)."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


class Words(Dataset):
    """One-second recordings as log-mel spectrograms, 1x40x87, in train shifted by up to 0.1 s at random."""

    def __init__(self, split, rate=22_050, n_fft=512, hop=256):
        self.files = sorted((DATA / split).glob("*.wav"))  # word_voice_take.wav
        self.words = sorted({file.name.split("_")[0] for file in self.files})
        self.max_shift = rate // 10 if split == "train" else 0
        self.n_fft, self.hop = n_fft, hop
        self.window = torch.hann_window(n_fft)
        self.filters = mel_filters(40, n_fft, rate)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        file = self.files[index]
        with wave.open(str(file)) as recording:
            samples = bytearray(recording.readframes(recording.getnframes()))
        sound = torch.frombuffer(samples, dtype=torch.int16).float() / 32768
        shift = torch.randint(-self.max_shift, self.max_shift + 1, ()).item()
        sound = torch.roll(sound, shift)
        spectrum = torch.stft(sound, self.n_fft, self.hop, window=self.window, return_complex=True).abs() ** 2
        mel = torch.log(self.filters @ spectrum + 1e-6)
        mel = (mel - mel.mean()) / mel.std()
        return mel.unsqueeze(0), self.words.index(file.name.split("_")[0])


def block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


class Net(nn.Module):
    def __init__(self, words, width):
        super().__init__()
        self.blocks = nn.Sequential(block(1, width), block(width, 2 * width), block(2 * width, 4 * width))
        self.head = nn.Linear(4 * width * 5, words)

    def forward(self, x):
        x = self.blocks(x)  # 40 bands have become 5
        return self.head(x.mean(dim=3).flatten(1))  # the mean over time


def train(model, loader, criterion, optimizer, device):
    """One epoch; returns the mean loss."""
    model.train()
    total = 0.0
    for sounds, words in loader:
        sounds, words = sounds.to(device), words.to(device)
        optimizer.zero_grad()
        loss = criterion(model(sounds), words)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(words)
    return total / len(loader.dataset)


def test(model, loader, device):
    """The share of words recognised, spoken by voices not trained on."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for sounds, words in loader:
            sounds, words = sounds.to(device), words.to(device)
            correct += (model(sounds).argmax(dim=1) == words).sum().item()
    return correct / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description="Train a network on spoken words.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=24)
    args = parser.parse_args()
    if not DATA.exists():
        raise SystemExit(f"there is no data in {DATA}; run: python examples/prepare.py")

    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"

    train_data, test_data = Words("train"), Words("test")
    train_loader = DataLoader(train_data, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=args.batch_size)
    model = Net(len(train_data.words), args.width).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer_class, settings = OPTIMIZERS[args.optimizer]
    optimizer = optimizer_class(model.parameters(), **settings)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)

    for epoch in range(1, args.epochs + 1):
        loss = train(model, train_loader, criterion, optimizer, device)
        scheduler.step()
        accuracy = test(model, test_loader, device)
        print(f"epoch {epoch}: train loss {loss:.4f}, test accuracy {accuracy:.3f}", flush=True)
    print(f"test accuracy {test(model, test_loader, device):.3f}")


if __name__ == "__main__":
    main()
