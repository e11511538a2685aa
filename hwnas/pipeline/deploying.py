"""The bundles of a finished run."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from hwnas.artifacts import WINNER, Deployment, NetworkSummary, Summary
from hwnas.errors import RequestError, RunError
from hwnas.export.bundle import require_new_folder, write_bundle
from hwnas.export.request import BundleInputs, BundleOptions
from hwnas.pipeline.further import trained_network
from hwnas.pipeline.latency import kept_table, read_latency
from hwnas.pipeline.loading import network_of
from hwnas.pipeline.named import require_name
from hwnas.pipeline.networks import exporter_of, names_to_be
from hwnas.pipeline.order import is_finished
from hwnas.pipeline.reporting import further_rows, write_report
from hwnas.pipeline.run import Run
from hwnas.pipeline.speeds import known_speed
from hwnas.pipeline.tracking import tracked
from hwnas.run_folder import ExportFiles
from hwnas.stages.export import write_model
from hwnas.stages.speed import Speed


def require_deployable(run: Run, folder: Path, options: BundleOptions, *, network: str = WINNER) -> None:
    """Make sure that a bundle can be written, before a run that is not finished is worked through for it.

    Args:
        network: the name of a network that the run has retrained or will.

    Raises:
        RequestError: there will be no such network, the folder is there already or cannot be written to, or the device
            cannot do what was asked for.
        WriteError: there is no room.
    """
    require_new_folder(folder)
    options.require_possible(run.device)
    if network == WINNER:
        return
    if is_finished(run):
        require_name(run.files, network)
    elif network not in (known := names_to_be(run)):
        raise RequestError(f"expected a network of {run.folder}, got {network!r}; there will be: {', '.join(known)}")


def deploy(run: Run, summary: Summary, folder: Path, options: BundleOptions, *, network: str = WINNER) -> Deployment:
    """Write a network of a finished run to a new folder, and what the bundle says of itself into the run's.

    Args:
        network: the name of a retrained network.

    Raises:
        RequestError: there is no such network, or the folder is there already, or cannot be written to.
        RunError: a model does not do what the trained network does.
        WriteError: there is no room.
    """
    with tracked(run):
        deployment = _written(run, summary, folder, options, network)
        run.reporter.callbacks.on_bundle(folder)
    return deployment


def _written(run: Run, summary: Summary, folder: Path, options: BundleOptions, network: str) -> Deployment:
    if network == WINNER:
        return _deployed(run, summary, run.files.export, folder, options)
    with TemporaryDirectory() as scratch:
        models = ExportFiles(Path(scratch))
        shown = _in_the_winners_place(run, summary, network, models)
        return _deployed(run, shown, models, folder, options, network=network)


def _deployed(
    run: Run, summary: Summary, models: ExportFiles, folder: Path, options: BundleOptions, *, network: str | None = None
) -> Deployment:
    table = kept_table(run)
    inputs = BundleInputs(
        setup=run.setup,
        summary=summary,
        task=run.learning.at(run.space.input_size(summary.architecture)),
        task_name=run.config.task,
        table=table,
        speed=known_speed(run, table) or Speed(),
        model=models.model(WINNER),
        dynamic_model=models.dynamic_model,
        module=_module(run, network or WINNER),
        batch_size=run.config.retrain.batch_size,
        network=network,
    )

    def keep(deployment: Deployment) -> None:
        run.files.write_deployment(deployment)
        write_report(run)

    return write_bundle(inputs, folder, options, on_written=keep)


def _module(run: Run, name: str) -> nn.Module | None:
    """Return a network for torch; None of a finished run whose weights were removed or damaged."""
    try:
        return network_of(run, name)
    except (RequestError, RunError) as error:
        run.reporter.line(f"no weights for torch: {error}")
        return None


def _in_the_winners_place(run: Run, summary: Summary, name: str, models: ExportFiles) -> Summary:
    """Write the models of another network, and return the summary with its figures in place of the winner's."""
    retrained = trained_network(run, name)
    exporter = exporter_of(run, read_latency(run))
    parity = write_model(exporter, retrained, models.model(WINNER))
    write_model(exporter, retrained, models.dynamic_model, is_dynamic=True)
    row = summary.networks.get(name) or further_rows(run)[name]
    return replace(summary, **{field.name: getattr(row, field.name) for field in fields(NetworkSummary)}, parity=parity)
