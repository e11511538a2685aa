"""The bundle of a finished run."""

from __future__ import annotations

from pathlib import Path

from hwnas.artifacts import Deployment, Summary
from hwnas.export.bundle import BundleInputs, BundleOptions, write_bundle
from hwnas.pipeline.latency import kept_table, known_speed
from hwnas.pipeline.reporting import write_report
from hwnas.pipeline.run import Run
from hwnas.run_folder import WINNER
from hwnas.stages.speed import Speed


def deploy(run: Run, summary: Summary, folder: Path, options: BundleOptions) -> Deployment:
    """Write the winner of a finished run to a new folder, and what the bundle says of itself into the run's.

    Raises:
        RequestError: the folder is there already, or cannot be written to.
        RunError: a model does not do what the trained network does.
        WriteError: there is no room.
    """
    table = kept_table(run)
    inputs = BundleInputs(
        setup=run.setup,
        summary=summary,
        task=run.learning,
        task_name=run.config.task,
        table=table,
        speed=known_speed(run, table) or Speed(),
        model=run.files.export.model(WINNER),
        dynamic_model=run.files.export.dynamic_model,
        batch_size=run.config.retrain.batch_size,
    )

    def keep(deployment: Deployment) -> None:
        run.files.write_deployment(deployment)
        write_report(run)

    return write_bundle(inputs, folder, options, on_written=keep)
