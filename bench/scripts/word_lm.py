"""A word-level language model: 2 LSTM layers of 200, 30,000 words, batches of 20 x 35, on a made-up corpus.

python bench/scripts/word_lm.py --epochs 1
"""

import argparse
import math

import torch
from torch import nn

WORDS, BATCH, LENGTH = 30_000, 20, 35


class LanguageModel(nn.Module):
    def __init__(self, words, hidden, layers):
        super().__init__()
        self.dropout = nn.Dropout(0.2)
        self.embedding = nn.Embedding(words, hidden)
        self.rnn = nn.LSTM(hidden, hidden, layers, dropout=0.2)
        self.head = nn.Linear(hidden, words)

    def forward(self, x, state):
        out, state = self.rnn(self.dropout(self.embedding(x)), state)
        return self.head(self.dropout(out)), state


def corpus(tokens, generator):
    """Words by Zipf's law, of which every second one follows from the one before."""
    weights = 1.0 / torch.arange(1, WORDS + 1)
    words = torch.multinomial(weights, tokens, replacement=True, generator=generator)
    words[1::2] = (words[0::2][: len(words[1::2])] * 7 + 3) % WORDS
    return words


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=700_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    data = corpus(args.tokens, torch.Generator().manual_seed(0))
    data = data[: len(data) // BATCH * BATCH].view(BATCH, -1).t().contiguous()
    model = LanguageModel(WORDS, 200, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    for _ in range(args.epochs):
        state = None
        for step, start in enumerate(range(0, len(data) - 1, LENGTH), start=1):
            inputs = data[start : start + LENGTH]
            targets = data[start + 1 : start + 1 + LENGTH]
            inputs = inputs[: len(targets)]
            state = tuple(part.detach() for part in state) if state is not None else None
            optimizer.zero_grad()
            out, state = model(inputs, state)
            loss = criterion(out.view(-1, WORDS), targets.reshape(-1))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
            if step % 50 == 0:
                print(f"step {step}: perplexity {math.exp(loss.item()):.1f}", flush=True)


if __name__ == "__main__":
    main()
