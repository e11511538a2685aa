"""`hwnas front`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.arguments import Json, RunFolder
from hwnas.cli.printing import print_json, print_table
from hwnas.quantities import counted, ms_column


def front(
    folder: RunFolder,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a picture too, .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Print what no other evaluated network of a run beats in both score and latency."""
    from hwnas.front import latency_front, plot_front
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter

    run = Run.from_folder(folder, Reporter(is_quiet=True))
    evaluations = run.files.read_evaluations()
    found = latency_front(evaluations)
    if plot is not None:
        plot_front(str(run.spec), evaluations, found, plot, percentile=run.config.percentile)
    if as_json:
        print_json([e.as_dict() for e in found])
        return
    print_table(
        f"{run.spec}: {counted(len(found), 'network')} on the front, by score",
        [f"predicted {ms_column(run.config.percentile)}", "score", "architecture"],
        [[f"{e.costs['latency_ms']:.4g}", f"{e.score:.2%}", "-".join(map(str, e.architecture))] for e in found],
    )
