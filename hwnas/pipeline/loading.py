"""The networks of runs and bundles as torch modules with their trained weights."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from torch import nn

from hwnas.artifacts import ORIGINAL, WINNER, Deployment
from hwnas.errors import RequestError
from hwnas.export.torch_module import read_module
from hwnas.pipeline.named import named_architectures, require_name
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.records import read_record
from hwnas.run_folder import RunFolder
from hwnas.training.trained_weights import load_trained
from safe_files import expanded
from safe_files.code_trust import UntrustedCodeError, code_limited_to
from search_spaces import SpaceError


def load_network(folder: str | Path, network: str | None = None, *, trust_code: bool = False) -> nn.Module:
    """Return a network of a run or of a bundle as a torch module with its trained weights, in evaluation mode.

    It computes what the exported `model.onnx` computes: it takes images normalised by the data's mean and standard
    deviation, [N, C, H, W], any number of them, and gives the outputs of the task. Nothing but the folder is needed, no
    data and no device.

    Args:
        folder: of a run, or a bundle that `hwnas export` wrote.
        network: the name of a retrained network of the run, such as `largest` or `winner-5ms`; its winner by default. A
            bundle has one network.
        trust_code: whether Python files that the run names, a search space or a task of somebody's own, may be run. The
            network of a bundle is a graph, which needs none.

    Raises:
        RequestError: the folder is neither, has no such network, or names code that is not trusted.
        RunError: a file of it is damaged.
        SpaceError: its search space cannot be made.
    """
    path = expanded(Path(folder))
    if RunFolder(path).has_begun:
        with nullcontext() if trust_code else code_limited_to(()):
            try:
                return network_of(Run.from_folder(path, Reporter(is_quiet=True)), network or WINNER)
            except (RequestError, SpaceError) as error:
                if _is_of_untrusted_code(error):
                    raise RequestError(f"{error}, in Python trust_code=True") from error
                raise
    if (path / "deployment.json").is_file():
        return _of_bundle(path, network)
    raise RequestError(
        f"{path} holds no network: expected the folder of a run, which has config.yaml, or a bundle, which has "
        "deployment.json; hwnas search makes the one, hwnas export -o the other"
    )


def _is_of_untrusted_code(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, is that code is not trusted."""
    while error is not None and not isinstance(error, UntrustedCodeError):
        error = error.__cause__
    return error is not None


def network_of(run: Run, name: str) -> nn.Module:
    """Return a retrained network of a run as it is deployed, with its trained weights, in evaluation mode.

    Raises:
        RequestError: the run has no network of that name, or not yet.
        RunError: its checkpoint is not there, damaged, or of another network.
    """
    files, space = run.files, run.space
    known = named_architectures(files)
    if WINNER not in known and name not in known:
        raise RequestError(f"{files.root} has no network {name} yet; finish the run with hwnas export {files.root}")
    require_name(files, name)
    architecture = space.validated(known[name])
    if name == ORIGINAL:
        return space.deployed(space.supernet().subnet(architecture)).eval()
    same = [files.retrain.checkpoint(other) for other, a in known.items() if a == known[name] and other != ORIGINAL]
    checkpoint = next((path for path in same if path.is_file()), None)
    if checkpoint is None:
        raise RequestError(
            f"{files.root} has no weights of {name}: expected {files.retrain.checkpoint(name)}; restore a copy of it"
        )
    module = space.build(architecture)
    load_trained(module, checkpoint)
    return space.deployed(module).eval()


def _of_bundle(folder: Path, network: str | None) -> nn.Module:
    """Return the network of a bundle, once its file proves to be the one that was written."""
    deployment = read_record(Deployment, folder / "deployment.json", remedy="write the bundle again with hwnas export")
    own = deployment.network or WINNER
    if network not in (None, own):
        raise RequestError(f"{folder} is a bundle of {own}, got {network!r}; leave it out, or give the run's folder")
    return read_module(folder, deployment.weights)
