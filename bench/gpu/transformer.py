"""A Transformer of 6 layers of 512 that predicts the next of 10,000 words, 128 of them at batch 32, from torch's parts.

python bench/gpu/transformer.py
python bench/gpu/transformer.py --layers 2 --width 64 --length 32 --vocab 500 --batch-size 8 --samples 800  # on a CPU
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

PHRASES, PHRASE = 1000, 8


class Text(Dataset):
    """Phrases of 8 words, few of them frequent (by Zipf's law), one after the other; one word in 20 is any word."""

    def __init__(self, samples, length=128, vocab=10_000, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.samples, self.length = samples, length
        tokens = samples * length + 1
        phrases = torch.randint(0, vocab, (PHRASES, PHRASE), generator=generator)
        weights = 1.0 / torch.arange(1, PHRASES + 1)
        chosen = torch.multinomial(weights, tokens // PHRASE + 1, replacement=True, generator=generator)
        self.tokens = phrases[chosen].flatten()[:tokens]
        strange = torch.rand(tokens, generator=generator) < 0.05
        self.tokens = torch.where(strange, torch.randint(0, vocab, (tokens,), generator=generator), self.tokens)

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        start = index * self.length
        words = self.tokens[start : start + self.length + 1]
        return words[:-1], words[1:]


class Transformer(nn.Module):
    def __init__(self, layers, heads, width, vocab, length, dropout):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.position = nn.Embedding(length, width)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, vocab)

    def forward(self, x):
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device)
        x = self.embedding(x) + self.position(torch.arange(length, device=x.device))
        x = self.encoder(self.dropout(x), mask=mask, is_causal=True)
        return self.head(x)


def loss_fn(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def build(layers=6, heads=8, width=512, vocab=10_000, length=128, dropout=0.1):
    return Transformer(layers, heads, width, vocab, length, dropout)


def make_batch(batch_size=32, length=128, vocab=10_000, seed=0):
    """The first samples as one batch: words and the words after them, both (batch, length), on the CPU."""
    data = Text(batch_size, length, vocab, seed)
    return default_collate([data[i] for i in range(batch_size)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=10_000)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--samples", type=int, default=48_000)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = Text(args.samples, args.length, args.vocab, args.seed)
    loader = DataLoader(data, batch_size=args.batch_size, shuffle=True)
    model = build(args.layers, args.heads, args.width, args.vocab, args.length, args.dropout).to(device)
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
