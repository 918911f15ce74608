"""Train a character-level Transformer to write like the Python documentation.

python examples/prepare.py    # once
python examples/text.py --epochs 5
"""

import argparse
import math
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

DATA = Path(__file__).resolve().parent / "data" / "text"

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "momentum": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 5e-4}),
    "adam": (torch.optim.Adam, {"lr": 1e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3}),
}


class Windows(Dataset):
    """Windows of a text, each beside the same window one character later."""

    def __init__(self, text, vocabulary, context):
        codes = {character: code for code, character in enumerate(vocabulary)}
        self.text = torch.tensor([codes[character] for character in text])
        self.context = context

    def __len__(self):
        return (len(self.text) - 1) // self.context

    def __getitem__(self, index):
        window = self.text[index * self.context : (index + 1) * self.context + 1]
        return window[:-1], window[1:]


class Block(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def attention(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x):
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    def __init__(self, characters, context, width, layers, heads=4, dropout=0.1):
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*[Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters)
        for embedding in (self.characters, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(self.characters(x) + self.positions(positions))
        return self.head(self.norm(self.blocks(x)))


def train(model, loader, criterion, optimizer, device):
    """One epoch; returns the mean loss in bits per character."""
    model.train()
    total = 0.0
    for inputs, targets in loader:
        inputs, targets = inputs.to(device), targets.to(device)
        optimizer.zero_grad()
        loss = criterion(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        total += loss.item() * len(inputs)
    return total / len(loader.dataset) / math.log(2)


def test(model, loader, criterion, device):
    """The mean loss on text not trained on, in bits per character."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            total += criterion(model(inputs).flatten(0, 1), targets.flatten()).item() * len(inputs)
    return total / len(loader.dataset) / math.log(2)


def main():
    parser = argparse.ArgumentParser(description="Train a character-level language model.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=64)
    args = parser.parse_args()
    if not DATA.exists():
        raise SystemExit(f"there is no data in {DATA}; run: python examples/prepare.py")

    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"

    texts = {split: (DATA / f"{split}.txt").read_text(encoding="utf-8") for split in ("train", "test")}
    vocabulary = sorted(set(texts["train"] + texts["test"]))
    train_data = Windows(texts["train"], vocabulary, args.context)
    test_data = Windows(texts["test"], vocabulary, args.context)
    train_loader = DataLoader(train_data, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=args.batch_size)
    model = Transformer(len(vocabulary), args.context, args.width, args.layers).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer_class, settings = OPTIMIZERS[args.optimizer]
    optimizer = optimizer_class(model.parameters(), **settings)

    for epoch in range(1, args.epochs + 1):
        loss = train(model, train_loader, criterion, optimizer, device)
        bits = test(model, test_loader, criterion, device)
        print(f"epoch {epoch}: train loss {loss:.3f}, validation {bits:.3f} bits per character", flush=True)
    print(f"validation bits per character {test(model, test_loader, criterion, device):.3f}")


if __name__ == "__main__":
    main()
