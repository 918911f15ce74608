"""A generator and a critic: neither loss falls for long, so no comparison of losses says that they learn alike."""

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    real = torch.randn(4096, 64) @ torch.randn(64, 64) / 8
    generator = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64))
    critic = nn.Sequential(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
    judge = nn.BCEWithLogitsLoss()
    for step in range(20_000):
        batch = real[torch.randint(0, len(real), (128,))]
        made = generator(torch.randn(128, 16))
        loss = judge(critic(batch), torch.ones(128, 1)) + judge(critic(made.detach()), torch.zeros(128, 1))
        of_critic.zero_grad()
        loss.backward()
        of_critic.step()
        loss = judge(critic(made), torch.ones(128, 1))
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        if step % 1000 == 0:
            print(step, loss.item())


if __name__ == "__main__":
    main()
