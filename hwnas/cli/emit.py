"""`hwnas emit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.arguments import Json, MovedSpace, RunTable
from hwnas.cli.printing import print_json, print_table


def emit(
    folder: Annotated[Path, typer.Argument(help="The run's folder; its search is finished.")],
    budgets: Annotated[list[str], typer.Argument(help="Latencies such as 5ms, or shares of the slowest such as 40%.")],
    lut: RunTable = None,
    space: MovedSpace = None,
    as_json: Json = False,
) -> None:
    """Name an architecture for each budget by what a run's search found out, without evaluating any more.

    Nothing but the run's folder is needed, and the files of code of one's own.
    """
    from hwnas.pipeline.emitting import emit as emitted
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter
    from hwnas.quantities import ms_column

    run = Run.from_folder(folder, Reporter(is_quiet=True), moved={"lut": lut, "space.name": space})
    found = emitted(run, budgets)
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    devices = list(found[0].elsewhere_ms) if found else []
    rows = [one.as_row() for one in found]
    ms = ms_column(run.config.percentile)
    title = f"{run.spec}: by {len(run.files.read_evaluations())} evaluations"
    columns = [f"budget {ms}", f"predicted {ms}", *(f"on {name}" for name in devices), "architecture"]
    print_table(title, columns, rows)
