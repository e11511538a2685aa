"""Training in several processes."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run_cli
from samples import synthetic_table

from hwnas.training.checkpoint import load_checkpoint
from hwnas.training.group import ALONE
from lut import save_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)

SCRIPT = """
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.dataflow import Batches, load_dataset
from hwnas.progress import Reporter
from hwnas.training import Trainer
from hwnas.training.group import started_group
from search_spaces import SpaceSpec, make_space


def train(group):
    torch.manual_seed(0)
    dataset = load_dataset("digits", Path())
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    config = TrainingConfig(epochs=2, batch_size=64, learning_rate=0.05)

    def accumulate(batch, rng, moment):
        loss = nn.functional.cross_entropy(module(batch[0]), batch[1])
        loss.backward()
        return loss.detach()

    Trainer(module=module, config=config, batches=Batches.of(dataset, dataset.train, 64), accumulate=accumulate,
            checkpoint=Path(sys.argv[1]), name="toy", seed=0, reporter=Reporter(is_quiet=True), group=group).fit()


def average_as_torchs_wrapper_does(group):
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25))
    torch.manual_seed(0)
    averaged, wrapped = space.supernet(), space.supernet()
    wrapped.load_state_dict(averaged.state_dict())
    optimizers = [torch.optim.SGD(s.parameters(), lr=0.1, momentum=0.9) for s in (averaged, wrapped)]
    group.fabric.strategy._ddp_kwargs["find_unused_parameters"] = True
    module, optimizers[1] = group.fabric.setup(wrapped, optimizers[1])
    generator = torch.Generator().manual_seed(group.rank)
    rng = np.random.default_rng(0)
    for _ in range(6):
        path = space.sample(rng)
        x_NCHW = torch.randn(8, 1, 8, 8, generator=generator)
        targets_N = torch.randint(10, (8,), generator=generator)
        for supernet, optimizer in zip((averaged, module), optimizers):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(supernet(x_NCHW, path), targets_N).backward()
            if supernet is averaged:
                group.average(p.grad for p in averaged.parameters() if p.grad is not None)
            optimizer.step()
    for name, parameter in averaged.named_parameters():
        assert torch.equal(parameter, wrapped.get_parameter(name)), name
    ours = torch.cat([p.flatten() for p in averaged.parameters()])
    mean = ours.clone()
    group.average([mean])
    assert torch.equal(ours, mean), "the processes have drifted apart"


torch.set_num_threads(1)
with started_group("cpu") as group:
    train(group)
    if group.size > 1:
        average_as_torchs_wrapper_does(group)
        group.barrier()
        assert group.rank == 0, "all is done, and this process fails"
"""


def _torchrun(*command: object) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [*launcher, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_what_one_trains_and_average_as_torchs_wrapper_and_one_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without BatchNorm the mean of two halves' gradients is the whole batch's; averaging a path gives to the bit what
    DistributedDataParallel around the whole supernet gives; leaving early after a group that ended well hides no
    failure within it."""
    script = tmp_path / "toy.py"
    script.write_text(SCRIPT)
    with pytest.raises(AssertionError, match="AssertionError: all is done, and this process fails"):
        _torchrun(script, tmp_path / "two.safetensors")
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one.safetensors")])
    runpy.run_path(str(script))
    (one, record), (two, other) = (load_checkpoint(tmp_path / f"{n}.safetensors") for n in ("one", "two"))
    assert set(one) == set(two)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
    assert [row[1] for row in other["epochs"]] == pytest.approx([row[1] for row in record["epochs"]], rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("very_short_runs")
def test_a_supernet_trained_by_two_is_searched_by_one(tmp_path: Path) -> None:
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), tmp_path / "t.json")
    out = tmp_path / "run"
    flags = ("--width", 0.25, "--epochs", 4, "--evaluations", 4, "--retrain-epochs", 1, "--max-latency", "70%")
    flags += ("--set", "search.finalists=2", "--set", "retrain.references=false")
    _torchrun("-m", "hwnas", "train", *flags, "--lut", tmp_path / "t.json", "--out", out, "--quiet")
    _, record = load_checkpoint(out / "supernet" / "checkpoint.safetensors")
    losses = [row[1] for row in record["epochs"]]
    assert len(losses) == 4 and losses[-1] < max(losses)
    before = (out / "supernet" / "checkpoint.safetensors").read_bytes()
    outcome = run_cli("search", "--resume", "--out", out, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["budget_kept"]
    assert (out / "supernet" / "checkpoint.safetensors").read_bytes() == before


def test_several_processes_without_fabric_are_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    outcome = run_cli("train", "--width", 0.25, "--max-latency", "70%", "--out", tmp_path / "run", "--quiet")
    assert outcome.code == 2
    assert "pip install 'hwnas[distributed]'" in outcome.err


def test_one_process_alone_changes_nothing() -> None:
    tensor = torch.tensor([1.0, 2.0])
    ALONE.average([tensor])
    ALONE.barrier()
    assert tensor.tolist() == [1.0, 2.0]
