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
    """Print what no other evaluated network of a run beats in both score and latency, on each of its devices."""
    from hwnas.constraint import LATENCY
    from hwnas.front import fleet_front, latency_front, plot_front
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter

    run = Run.from_folder(folder, Reporter(is_quiet=True))
    evaluations = run.files.read_evaluations()
    found, ms = fleet_front(evaluations), ms_column(run.config.percentile)
    if plot is not None:  # a picture has room for one latency, the first device's
        plot_front(str(run.spec), evaluations, latency_front(evaluations), plot, percentile=run.config.percentile)
    if as_json:
        print_json([e.as_dict() for e in found])
        return
    further = [name for name in (found[0].costs if found else ()) if name != LATENCY]
    first = f"predicted {ms}" if not further else f"predicted {ms} on {run.device_name}"
    print_table(
        f"{run.spec}: {counted(len(found), 'network')} on the front, by score",
        [first, *(f"on {name.partition('@')[2]}" for name in further), "score", "architecture"],
        [
            [*(f"{cost:.4g}" for cost in e.costs.values()), f"{e.score:.2%}", "-".join(map(str, e.architecture))]
            for e in found
        ],
    )
