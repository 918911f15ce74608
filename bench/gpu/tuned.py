"""A GPT of 6 layers of 512, 512 tokens at batch 32, that already follows the usual performance advice.

python bench/gpu/tuned.py
python bench/gpu/tuned.py --layers 2 --heads 2 --width 64 --vocab 500 --length 64 --batch-size 8 --samples 800 \
    --workers 1    # on a CPU
"""

import argparse

import gpt2
import torch
from gpt2 import Text, loss_fn
from torch import nn
from torch.utils.data import DataLoader


def build(layers=6, heads=8, width=512, vocab=50_257, length=512):
    """The model as it is before it is compiled."""
    return gpt2.build(layers, heads, width, vocab, length)


def make_batch(batch_size=32, length=512, vocab=50_257, seed=0):
    """The first samples as one batch: tokens and the tokens after them, both (batch, length), on the CPU."""
    return gpt2.make_batch(batch_size, length, vocab, seed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    for name, default in (("layers", 6), ("heads", 8), ("width", 512), ("vocab", 50_257), ("length", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--samples", type=int, default=32_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = DataLoader(
        Text(args.samples, args.length, args.vocab, args.seed),
        batch_size=args.batch_size,
        shuffle=True,
        num_workers=args.workers,
        pin_memory=True,
        persistent_workers=True,
        drop_last=True,
    )
    model = build(args.layers, args.heads, args.width, args.vocab, args.length).to(device)
    model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.1, fused=True)

    for epoch in range(1, args.epochs + 1):
        for step, (x, y) in enumerate(loader, start=1):
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, dtype=torch.bfloat16):
                loss = loss_fn(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                print(f"epoch {epoch}, step {step}: loss {loss.item():.4f}", flush=True)
        print(f"epoch {epoch}: loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
