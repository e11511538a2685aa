"""A network made to keep a latency by a person's own loop: few lines, and a verified model."""

from __future__ import annotations

import inspect
from pathlib import Path

import onnxruntime
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hwnas

pytestmark = [pytest.mark.usefixtures("very_short_runs")]


class Net(nn.Module):
    """A network as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(1, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(64, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.three(self.two(self.one(x))).mean((2, 3)))


def _loaders() -> tuple[DataLoader[tuple[torch.Tensor, ...]], DataLoader[tuple[torch.Tensor, ...]]]:
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8) - 0.3
    y = torch.tensor(classes)
    train = DataLoader(TensorDataset(x[:512], y[:512]), 64, shuffle=True)
    return train, DataLoader(TensorDataset(x[1500:], y[1500:]), 100)


def _use(model, train_loader, val_loader, out):  # type: ignore[no-untyped-def]
    """What a user writes."""
    import torch

    import hwnas

    def train_step(network, batch):  # type: ignore[no-untyped-def]
        images, classes = batch
        return torch.nn.functional.cross_entropy(network(images), classes)

    def score(network, loader):  # type: ignore[no-untyped-def]
        return sum(int((network(x).argmax(1) == y).sum()) for x, y in loader) / len(loader.dataset)

    return hwnas.optimize(
        model, train_loader, val_loader, "cpu", max_latency="80%", train_step=train_step, score=score,
        epochs=1, retrain_epochs=1, evaluations=4, out=out,
    )  # fmt: skip


def test_it_takes_fifteen_lines_at_most() -> None:
    lines = [line for line in inspect.getsource(_use).splitlines()[2:] if line.strip()]
    assert len(lines) <= 15


@pytest.mark.slow
@pytest.mark.usefixtures("small_own_tables")
def test_a_written_net_ends_as_a_verified_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, (train_loader, val_loader) = Net(), _loaders()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = _use(model, train_loader, val_loader, tmp_path / "run")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert result.summary is not None and result.summary.parity.equal_predictions == 1.0
    images, classes = map(torch.cat, zip(*val_loader, strict=True))
    session = onnxruntime.InferenceSession(str(result.winner.onnx), providers=["CPUExecutionProvider"])
    said = [session.run(None, {session.get_inputs()[0].name: x[None].numpy()})[0].argmax() for x in images]
    assert (torch.tensor(said) == classes).float().mean() == pytest.approx(result.winner.accuracy)
    smaller = result.module()
    assert torch.equal(smaller(images).argmax(1), torch.tensor(said))
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


def test_wrong_loaders_and_steps_are_refused(tmp_path: Path) -> None:
    model, (train_loader, val_loader) = Net(), _loaders()
    flat = DataLoader(TensorDataset(torch.zeros(4, 64), torch.zeros(4, dtype=torch.int64)), 2)
    with pytest.raises(hwnas.RequestError, match=r"expected batches of \(images, targets\)"):
        hwnas.optimize(model, flat, val_loader, max_latency="80%", out=tmp_path / "a")
    values = DataLoader(TensorDataset(torch.zeros(4, 1, 8, 8), torch.zeros(4)), 2)
    with pytest.raises(hwnas.RequestError, match="expected the index of a class"):
        hwnas.optimize(model, train_loader, values, max_latency="80%", out=tmp_path / "b")
