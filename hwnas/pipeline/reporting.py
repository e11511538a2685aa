"""The report of a run, as far as the run is."""

from __future__ import annotations

from pathlib import Path

from hwnas.artifacts import NetworkSummary
from hwnas.config import RunConfig
from hwnas.errors import RequestError, RunError
from hwnas.front import latency_front
from hwnas.pipeline.latency import kept_table
from hwnas.pipeline.named import latency_of, named_architectures
from hwnas.pipeline.networks import require_of_space
from hwnas.pipeline.run import Run
from hwnas.report import Facts, Subject, render, write_events
from hwnas.report.along import part_latencies, sliced_layers
from hwnas.report.facts import ModelFile, block_latencies, network_latencies
from hwnas.run_folder import RunFolder
from hwnas.stages.summary import figures
from hwnas.training.trainer import EpochRecord, best_epoch, epochs_of
from lut import LatencyTable, LaterTableError, TableError
from safe_files import write_text
from search_spaces.traced.space import TracedSpace


def write_report(run: Run) -> Path:
    """Write the run's report into its folder, as far as the run is, and TensorBoard's files beside it."""
    facts = gather(run)
    write_events(facts, run.files.events)
    write_text(run.files.report, render(facts))  # the last file of a run
    return run.files.report


def render_report(run: Run, refresh_s: int | None = None) -> str:
    """Return the page; it reloads itself where `refresh_s` is given."""
    return render(gather(run), refresh_s=refresh_s)


def gather(run: Run) -> Facts:
    """Return what the run's folder tells.

    Raises:
        RunError: what a finished run wrote is damaged.
    """
    config, evaluations, table = run.config, run.files.search.evaluations(), _table(run)
    summary = run.files.read_summary()
    winner = None if summary is None or not isinstance(run.space, TracedSpace) else summary.architecture
    return Facts(
        subject=Subject(
            space=run.space,
            device=run.device_name,
            data=config.data.name,
            task=config.task,
            num_evaluations=config.search.evaluations,
            num_epochs=config.supernet.epochs,
            num_retrain_epochs=config.retrain.epochs,
            percentile=config.percentile,
            settings=_settings(config),
        ),
        times=run.files.read_times(),
        summary=summary,
        further=further_rows(run),
        deployments=run.files.export.read_deployments(),
        models=[] if summary is None else _models(run.files, [*summary.networks]),
        history=evaluations,
        front=latency_front(evaluations),
        table=table,
        curves=_curves(run.files),
        networks={} if table is None else network_latencies(table, run.space),
        layers=[] if winner is None else sliced_layers(run.space, winner),
        parts=[] if winner is None or table is None else part_latencies(run.space, table, winner),
        predictions=run.files.export.read_predictions(),
        block_ms=[] if table is None else block_latencies(table, run.space),
    )


def _settings(config: RunConfig) -> dict[str, str]:
    """Return the settings that people ask for, by name; config.yaml has all."""
    limits = {
        "most parameters": config.max_params,
        "most multiply-accumulates": config.max_macs,
        "most memory": config.max_memory,
        "most energy": config.max_energy,
    }
    return {
        "budget": config.max_latency,
        **({"further budgets": ", ".join(config.budgets)} if config.budgets else {}),
        **{name: value for name, value in limits.items() if value is not None},
        "precision": config.precision,
        "training strategy": config.supernet.strategy,
        "epochs of the supernet": str(config.supernet.epochs),
        "search agent": config.search.agent,
        "evaluator": config.search.evaluator,
        "evaluations": str(config.search.evaluations),
        "epochs of each network": str(config.retrain.epochs),
        "seed": str(config.seed),
    }


def _models(files: RunFolder, names: list[str]) -> list[ModelFile]:
    """Return the models of networks that were exported; ones of the same architecture share a file."""
    return [
        ModelFile(
            path=path.relative_to(files.root).as_posix(),
            network=name,
            size_bytes=path.stat().st_size,
            batch="any" if path == files.export.dynamic_model else "1",
        )
        for name in names
        for path in files.export.models_of(name)
        if path.is_file()
    ]


def further_rows(run: Run) -> dict[str, NetworkSummary]:
    """Return the figures of the networks that were trained after a finished run's own, by name; nothing is trained.

    Raises:
        RunError: a record of them is damaged.
    """
    files, further, names = run.files, run.files.search.read_further(), named_architectures(run.files)
    require_of_space(run, [network.architecture for network in further.values()], files.search.further)
    trained = {name: rows for name in names if (rows := _epochs(files.retrain.checkpoint(name)))}
    found = {}
    for name, network in further.items():
        same = [n for n in trained if names[n] == network.architecture and files.retrain.metrics(n).exists()]
        for first in same[:1]:
            metrics, epoch = files.retrain.read_metrics(first), best_epoch(trained[first])
            assert epoch is not None
            found[name] = figures(
                run.space, network, metrics, latency_of(files, network), epoch=epoch, percentile=run.config.percentile
            )
    return found


def _table(run: Run) -> LatencyTable | None:
    try:
        return kept_table(run)
    except LaterTableError:
        raise
    except (TableError, RequestError):
        return None


def _curves(files: RunFolder) -> dict[str, list[EpochRecord]]:
    """Return the epochs of each training that can be read."""
    paths = {"supernet": files.supernet} | {f"retrain {path.stem}": path for path in files.retrain.checkpoints()}
    return {name: rows for name, path in paths.items() if (rows := _epochs(path)) is not None}


def _epochs(checkpoint: Path) -> list[EpochRecord] | None:
    """Return the epochs of a training; None where there is none that can be read."""
    try:
        return epochs_of(checkpoint) if checkpoint.exists() else None
    except RunError:
        return None
