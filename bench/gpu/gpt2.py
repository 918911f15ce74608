"""GPT-2 small (12 layers of 768, 50,257 tokens, 124 M parameters) on a made-up text, 1024 tokens at batch 8.

python bench/gpu/gpt2.py
python bench/gpu/gpt2.py --layers 2 --heads 2 --width 64 --vocab 500 --length 64 --samples 800    # on a CPU
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

PHRASES, PHRASE = 1000, 16


class Text(Dataset):
    """Phrases of 16 tokens, few of them frequent (by Zipf's law), one after the other; one token in 20 is any token."""

    def __init__(self, samples, length=1024, vocab=50_257, seed=0):
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
        tokens = self.tokens[start : start + self.length + 1]
        return tokens[:-1], tokens[1:]


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x):
        x = x + self.attend(self.ln_1(x))
        return x + self.fall(nn.functional.gelu(self.rise(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, layers, heads, width, vocab, length):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.wte.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("proj.weight", "fall.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5 if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, x):
        x = self.wte(x) + self.wpe(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


def loss_fn(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def build(layers=12, heads=12, width=768, vocab=50_257, length=1024):
    return GPT(layers, heads, width, vocab, length)


def make_batch(batch_size=8, length=1024, vocab=50_257, seed=0):
    """The first samples as one batch: tokens and the tokens after them, both (batch, length), on the CPU."""
    data = Text(batch_size, length, vocab, seed)
    return default_collate([data[i] for i in range(batch_size)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    for name, default in (("layers", 12), ("heads", 12), ("width", 768), ("vocab", 50_257), ("length", 1024)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--samples", type=int, default=8_000)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = Text(args.samples, args.length, args.vocab, args.seed)
    loader = DataLoader(data, batch_size=args.batch_size, shuffle=True)
    model = build(args.layers, args.heads, args.width, args.vocab, args.length).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.1)

    for epoch in range(1, args.epochs + 1):
        for step, (x, y) in enumerate(loader, start=1):
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                print(f"epoch {epoch}, step {step}: loss {loss.item():.4f}", flush=True)
        print(f"epoch {epoch}: loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
