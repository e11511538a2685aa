"""The report of a run, as far as the run is."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import RequestError, RunError
from hwnas.front import latency_front
from hwnas.pipeline.latency import kept_table
from hwnas.pipeline.run import Run
from hwnas.report import Facts, Subject, render, write_events
from hwnas.report.facts import block_latencies, network_latencies
from hwnas.run_folder import RunFolder
from hwnas.training.trainer import EpochRecord, epochs_of
from lut import LatencyTable, TableError
from safe_files import write_text


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
    return Facts(
        subject=Subject(
            space=run.space,
            device=run.device_name,
            data=config.data.name,
            seed=config.seed,
            strategy=config.supernet.strategy,
            search_agent=config.search.agent,
            num_evaluations=config.search.evaluations,
        ),
        summary=run.files.read_summary(),
        deployment=run.files.read_deployment(),
        history=evaluations,
        front=latency_front(evaluations),
        table=table,
        curves=_curves(run.files),
        networks={} if table is None else network_latencies(table, run.space),
        block_ms=[] if table is None else block_latencies(table, run.space),
    )


def _table(run: Run) -> LatencyTable | None:
    try:
        return kept_table(run)
    except (TableError, RequestError):
        return None


def _curves(files: RunFolder) -> dict[str, list[EpochRecord]]:
    """Return the epochs of each training that can be read."""
    paths = {"supernet": files.supernet} | {f"retrain {path.stem}": path for path in files.retrain.checkpoints()}
    found = {}
    for name, path in paths.items():
        if path.exists():
            try:
                found[name] = epochs_of(path)
            except RunError:
                continue
    return found
