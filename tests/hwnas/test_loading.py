"""Networks of runs and bundles as torch modules: they compute what the exported models compute."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import own_networks
import pytest
import squares
import torch
from command_line import run_cli
from samples import synthetic_table
from square_runs import search_squares
from torch import nn

import hwnas
from hwnas.errors import RequestError, RunError
from hwnas.export.torch_module import write_module
from hwnas.training.checkpoint import save_checkpoint
from hwnas.training.trained_weights import trained_weights
from lut import save_table
from onnx_models.session import OnnxNetwork
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SHORT = ("--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 160, "--quiet")
ALONE = ("--retrain-epochs", 1, "--set", "retrain.references=false", "--set", "search.finalists=1")
OWN_SPACE = '''
"""A space of one's own."""

from search_spaces.nasbench_macro import nasbench_macro


def space(spec):
    return nasbench_macro(spec)
'''


def _digits(folder: Path, *flags: object, space: str = "nasbench-macro") -> Path:
    spec = SpaceSpec(name=space, input_size=8, in_channels=1, num_classes=10, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), folder / "t.json")
    named = ("--space", space, "--width", 0.25, "--lut", folder / "t.json", "--max-latency", "70%")
    outcome = run_cli("search", *named, *SHORT, "--out", folder / "run", *flags)
    assert outcome.code == 0, outcome.err
    return folder / "run"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, very_short_runs: None) -> Path:
    """A finished run whose weights are averaged."""
    averaged = ("--set", "retrain.ema_decay=0.9", "--set", "retrain.optimizer=adamw")
    return _digits(tmp_path_factory.mktemp("digits"), *averaged, "--set", "retrain.learning_rate=0.001")


@pytest.fixture(scope="module")
def bundle(run_folder: Path) -> Path:
    folder = run_folder.parent / "bundle"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hwnas.export.bundle.has_tvm", lambda: False)  # it takes most of the time
        outcome = run_cli("export", run_folder, "-o", folder, "--no-int8", "--quiet")
    assert outcome.code == 0, outcome.err
    return folder


def _assert_same(module: nn.Module, model: Path, shape: tuple[int, ...]) -> None:
    """Assert that a module in evaluation mode gives what ONNX Runtime gives, for two random images."""
    assert not any(part.training for part in module.modules())
    images_NCHW = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    session = OnnxNetwork(model)
    expected = torch.cat([session(x[None]) for x in images_NCHW])
    with torch.no_grad():
        torch.testing.assert_close(module(images_NCHW), expected, rtol=1e-4, atol=1e-4)
    assert float(expected.std()) > 0


@pytest.mark.parametrize("name", [None, "winner", "largest", "random"])
def test_networks_of_a_run_compute_what_their_models_compute(run_folder: Path, name: str | None) -> None:
    module = hwnas.load_network(run_folder, name)
    _assert_same(module, run_folder / "export" / f"{'model' if name in (None, 'winner') else name}.onnx", (1, 8, 8))
    assert sum(p.numel() for p in module.parameters()) > 100 and all(p.requires_grad for p in module.parameters())


@pytest.mark.slow
@pytest.mark.usefixtures("no_tvm")
def test_further_networks_and_their_bundles_are_loaded_by_name(run_folder: Path, tmp_path: Path) -> None:
    architecture = "-".join(["1"] * len(json.loads((run_folder / "summary.json").read_text())["architecture"]))
    outcome = run_cli("retrain", run_folder, "--architecture", architecture, "--quiet")
    assert outcome.code == 0, outcome.err
    name = f"network-{architecture}"
    _assert_same(hwnas.load_network(run_folder, name), run_folder / "export" / f"{name}.onnx", (1, 8, 8))
    outcome = run_cli("export", run_folder, "--network", name, "-o", tmp_path / "b", "--no-int8", "--quiet")
    assert outcome.code == 0, outcome.err
    _assert_same(hwnas.load_network(tmp_path / "b"), tmp_path / "b" / "model.onnx", (1, 8, 8))
    with pytest.raises(RequestError, match=f"is a bundle of {name}, got 'winner'"):
        hwnas.load_network(tmp_path / "b", "winner")


def test_a_bundle_is_loaded_and_trained_further(bundle: Path, run_folder: Path) -> None:
    module = hwnas.load_network(str(bundle))
    _assert_same(module, bundle / "model.onnx", (1, 8, 8))
    assert set(module.state_dict()) == set(hwnas.load_network(run_folder).state_dict())
    module.train()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    nn.functional.cross_entropy(module(torch.randn(8, 1, 8, 8)), torch.arange(8)).backward()
    optimizer.step()
    assert all(not torch.equal(before[name], p) for name, p in module.named_parameters() if p.grad.abs().max() > 0)
    assert any(not torch.equal(before[name], p) for name, p in module.named_parameters())


def test_what_was_exchanged_or_cannot_be_loaded_is_refused(bundle: Path, run_folder: Path, tmp_path: Path) -> None:
    for folder, name, message in (
        (tmp_path, None, "holds no network: expected the folder of a run"),
        (tmp_path / "nowhere", None, "holds no network"),
        (run_folder, "winner-5ms", "expected a network of .*, got 'winner-5ms'; there are: winner"),
    ):
        with pytest.raises(RequestError, match=message):
            hwnas.load_network(folder, name)
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    (copy / "model.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=r"model\.safetensors is not the file that deployment\.json tells of"):
        hwnas.load_network(copy)
    deployment = json.loads((copy / "deployment.json").read_text())
    (copy / "deployment.json").write_text(json.dumps({**deployment, "weights": {}}))
    with pytest.raises(RequestError, match=r"has no model\.safetensors"):
        hwnas.load_network(copy)
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    winner = copy / "retrain" / "winner.safetensors"
    (copy / "retrain" / "random.safetensors").replace(winner)
    with pytest.raises(RunError, match="is of another network"):
        hwnas.load_network(copy)
    winner.unlink()
    with pytest.raises(RequestError, match="has no weights of winner"):
        hwnas.load_network(copy)
    (copy / "summary.json").unlink()
    with pytest.raises(RequestError, match="has no network winner yet; finish the run"):
        hwnas.load_network(copy)


def test_no_bundle_has_other_weights_for_torch_than_for_onnx(run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(run_folder / "export" / "model.onnx", tmp_path / "model.onnx")
    module, told = hwnas.load_network(run_folder), list[str]()
    assert set(write_module(module, (1, 8, 8), tmp_path, told.append)) == {"model.safetensors"} and not told
    (tmp_path / "model.safetensors").unlink()
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    assert write_module(module, (1, 8, 8), tmp_path, told.append) == {}
    assert "computes something else than model.onnx" in told[0] and not (tmp_path / "model.safetensors").exists()


def test_weights_are_those_of_the_best_epoch_without_what_training_needed_besides(tmp_path: Path) -> None:
    network, criterion = nn.Linear(2, 3), nn.Linear(3, 3)
    whole = {f"network.{name}": t.clone() for name, t in network.state_dict().items()}
    whole |= {f"criterion.{name}": t for name, t in criterion.state_dict().items()}
    parts = {f"module.{name}": t + 1 for name, t in whole.items()} | {
        f"momentum.{name}": t - 1 for name, t in whole.items()
    }
    save_checkpoint(tmp_path / "averaged", {**parts, "average.network.weight": network.weight + 2}, {})
    save_checkpoint(tmp_path / "best", {**parts, **{f"best.{name}": t for name, t in whole.items()}}, {})
    found = trained_weights(tmp_path / "averaged")
    assert set(found) == {"weight", "bias"}
    torch.testing.assert_close(found, {"weight": network.weight + 2, "bias": network.bias + 1})
    torch.testing.assert_close(trained_weights(tmp_path / "best"), dict(network.state_dict()))


def _search_own(folder: Path) -> Path:
    model, weights = own_networks.write_trained(folder, num_epochs=1)
    outcome = run_cli(
        *("search", "--model", model, "--weights", weights, "--max-latency", "90%", "--out", folder / "run"),
        *(*SHORT, "--accept-table", "--set", "trust.extra_minutes=0", "--set", "search.finalists=1"),
    )
    assert outcome.code == 0, outcome.err
    return folder / "run"


@pytest.mark.slow
@pytest.mark.usefixtures("small_own_tables")
def test_a_network_that_was_brought_is_loaded_without_its_code(tmp_path: Path) -> None:
    run = _search_own(tmp_path)
    (tmp_path / "net.py").unlink()
    for name, model in (("winner", "model"), ("original", "original")):
        _assert_same(hwnas.load_network(run, name), run / "export" / f"{model}.onnx", (1, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "data"), [("detection", "boxes"), ("segmentation", "masks")])
@pytest.mark.usefixtures("no_tvm")
def test_dense_networks_are_loaded_from_run_and_bundle(task: str, data: str, tmp_path: Path) -> None:
    outcome = search_squares(tmp_path, task, data, *ALONE, "--evaluations", 2, "--epochs", 1)
    assert outcome.code == 0, outcome.err
    outcome = run_cli("export", tmp_path / "run", "-o", tmp_path / "b", "--no-int8", "--trust-code", "--quiet")
    assert outcome.code == 0, outcome.err
    shape = (1, squares.SIZE, squares.SIZE)
    _assert_same(hwnas.load_network(tmp_path / "run"), tmp_path / "run" / "export" / "model.onnx", shape)
    _assert_same(hwnas.load_network(tmp_path / "b"), tmp_path / "b" / "model.onnx", shape)


@pytest.mark.slow
def test_code_that_a_run_names_is_run_only_where_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_SPACE)
    run = _digits(tmp_path, *ALONE, space=f"{tmp_path / 'own.py'}:space")
    with pytest.raises(RequestError, match=r"give --trust-code to run it, in Python trust_code=True"):
        hwnas.load_network(run)
    _assert_same(hwnas.load_network(run, trust_code=True), run / "export" / "model.onnx", (1, 8, 8))


def test_importing_hwnas_imports_nothing_heavy() -> None:
    code = "import sys, hwnas; assert 'load_network' in dir(hwnas); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hwnas.nothing
