"""The retrained networks of a run by their names, as `export` and `compare` take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.artifacts import WINNER, FoundNetwork
from hwnas.errors import RequestError
from hwnas.measured import Measured
from hwnas.progress import Reporter
from hwnas.run_folder import RunFolder
from search_spaces import Architecture


def named_architectures(files: RunFolder) -> dict[str, Architecture]:
    """Return the architectures of the retrained networks of a run, by name; before it is finished, of further ones."""
    summary = files.read_summary()
    own = {} if summary is None else {name: row.architecture for name, row in summary.networks.items()}
    return own | {name: network.architecture for name, network in files.search.read_further().items()}


def latency_of(files: RunFolder, network: FoundNetwork) -> Measured | None:
    """Return the latency of a network as it was measured: as a finalist, or under another name."""
    if network.finalist is not None:
        return network.finalist
    exported = files.export.read_result().networks.values() if files.export.result.exists() else ()
    measured: list[tuple[Architecture, Measured | None]] = [(e.architecture, e) for e in exported]
    measured += [(further.architecture, further.finalist) for further in files.search.read_further().values()]
    return next((latency for a, latency in measured if a == network.architecture and latency is not None), None)


def require_name(files: RunFolder, name: str) -> None:
    """Raise RequestError unless a finished run has a retrained network of that name."""
    if name not in (known := named_architectures(files)):
        raise RequestError(f"expected a network of {files.root}, got {name!r}; there are: {', '.join(known)}")


def model_named(reference: Path) -> Path:
    """Return the model that a reference stands for: `RUN` the exported winner of a run, `RUN:NAME` another network.

    Anything else is the name of a file.

    Raises:
        RequestError: there is neither, or the run has no network of that name, or no model of it yet.
        LaterVersionError: a later version of hwnas wrote one of the run's records.
    """
    if RunFolder(reference).has_begun:
        return _exported_model(RunFolder(reference), WINNER)
    folder, colon, name = str(reference).rpartition(":")
    if colon and not reference.exists() and RunFolder(Path(folder)).has_begun:
        return _exported_model(RunFolder(Path(folder)), name)
    if not reference.exists():
        raise RequestError(f"expected an ONNX file, RUN or RUN:NAME, found neither a file nor a run at {reference}")
    if reference.is_dir():
        raise RequestError(f"expected an ONNX file, RUN or RUN:NAME, found no run in the folder {reference}")
    return reference


def normalisations(references: Sequence[Path]) -> dict[Path, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return mean and deviation that runs normalised images by, by the files of the models that references stand for.

    Files that no run is named for have none.
    """
    found = {}
    for reference in references:
        folders = [reference, Path(str(reference).rpartition(":")[0])]
        files = next((files for files in map(RunFolder, folders) if files.has_begun), None)
        summary = None if files is None or reference.is_file() else files.read_summary()
        if summary is not None and summary.mean:
            found[model_named(reference)] = (summary.mean, summary.std)
    return found


def models_named(references: Sequence[Path], reporter: Reporter) -> list[Path]:
    """Return the models that references stand for, each once; says which are left out.

    Raises:
        RequestError: one of them stands for none.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for reference in references:
        model = model_named(reference)
        first, _ = found.setdefault(model.resolve(), (reference, model))
        if first is not reference:
            reporter.warn(f"{reference} is the same file as {first}, {model}: it is left out")
    return [model for _, model in found.values()]


def _exported_model(files: RunFolder, name: str) -> Path:
    """Return the model of a network; one of several names may have it under another of them."""
    files.refuse_later_versions()
    known = named_architectures(files)
    if WINNER in known:
        require_name(files, name)
    for other, architecture in known.items():
        if name in known and architecture == known[name] and (path := files.export.model(other)).is_file():
            return path
    remedy = f"finish the run with hwnas export {files.root}"
    if name in files.search.read_further():
        remedy = f"give hwnas retrain {files.root} its --architecture, --budget or --front again"
    raise RequestError(f"{files.root} has no model of {name} yet; {remedy}")
