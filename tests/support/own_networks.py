"""Networks as people bring them: their code, and weights that were trained for the digits."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from hwnas.dataflow import Batches, load_dataset
from search_spaces.traced.source import load_network

CODE = '''
"""A residual network for digits."""

import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self, width_in, width_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(width_in, width_out, 1, stride)

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + self.shortcut(x))


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 1, 1)
        self.layer1 = Residual(8, 8, 1)
        self.layer2 = Residual(8, 16, 2)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        x = self.layer2(self.layer1(torch.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


def build():
    return Net()
'''


def write_code(folder: Path, code: str = CODE) -> str:
    """Write somebody's code into a folder; how a command line names what makes the network in it."""
    path = folder / "net.py"
    path.write_text(code)
    return f"{path}:build"


def write_trained(folder: Path, *, num_epochs: int = 12) -> tuple[str, Path]:
    """Write the code and the weights of a network that tells digits apart; how they are named."""
    model, weights = write_code(folder), folder / "net.safetensors"
    module = load_network(model).module
    train(module, num_epochs)
    save_file(module.state_dict(), weights)
    return model, weights


def train(module: nn.Module, num_epochs: int) -> None:
    """Train a network on the digits."""
    digits = load_dataset("digits", Path("data"))
    batches, generator = Batches.of(digits, digits.train, 64), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), 0.01)
    module.train()
    for _ in range(num_epochs):
        for x_NCHW, targets_N in batches.shuffled(generator):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x_NCHW), targets_N).backward()
            optimizer.step()
    module.eval()


def accuracy(module: nn.Module) -> float:
    """The share of the test images that a network tells apart, counted by hand."""
    digits = load_dataset("digits", Path("data"))
    right = total = 0
    with torch.no_grad():
        for x_NCHW, targets_N in Batches.of(digits, digits.test, 100).in_order():
            right += int((module(x_NCHW).argmax(1) == targets_N).sum())
            total += len(targets_N)
    return right / total
