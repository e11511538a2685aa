"""A small residual network for scikit-learn's digits, and its training: what a person might bring.

python docs/examples/residual_net.py        # half a minute; writes residual_net.safetensors
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.shortcut = nn.Sequential()
        if stride > 1 or num_in != num_out:
            self.shortcut = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Net(nn.Module):
    """A stem, four blocks and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.layers = nn.Sequential(Block(32, 32), Block(32, 32), Block(32, 64, stride=2), Block(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.stem(x)).mean((2, 3)))


def build() -> nn.Module:
    """Return the network; --model names this function."""
    return Net()


def main(epochs: int = 15) -> None:
    """Train the network and write its weights."""
    from hwnas.dataflow import Batches, load_dataset

    digits = load_dataset("digits", Path())
    batches = Batches.of(digits, digits.train, 64)
    torch.manual_seed(0)
    net = build()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=epochs)
    for epoch in range(epochs):
        for images, classes in batches.shuffled(torch.Generator().manual_seed(epoch)):
            optimizer.zero_grad()
            functional.cross_entropy(net(images), classes).backward()
            optimizer.step()
        schedule.step()
    save_file(net.state_dict(), "residual_net.safetensors")


if __name__ == "__main__":
    main()
