"""A language model that carries its hidden state from batch to batch, cut off from its history."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.rnn = nn.LSTM(16, 16)
        self.head = nn.Linear(16, 40)

    def forward(self, x, state):
        out, state = self.rnn(self.embedding(x), state)
        return self.head(out), state


def main():
    torch.manual_seed(0)
    data = torch.randint(0, 40, (400, 8))
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        state = None
        for start in range(0, 390, 10):
            if state is not None:
                state = tuple(part.detach() for part in state)
            optimizer.zero_grad()
            out, state = model(data[start : start + 10], state)
            loss = nn.functional.cross_entropy(out.flatten(0, 1), data[start + 1 : start + 11].flatten())
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
