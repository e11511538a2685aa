"""`hwnas emit`."""

from __future__ import annotations

from math import isinf
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
    from hwnas.errors import RequestError
    from hwnas.pipeline.latency import read_latency
    from hwnas.pipeline.networks import hard_limits_of
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter
    from hwnas.quantities import Budget, budget_text, format_ms, ms_column
    from hwnas.search import GeneratorAgent
    from hwnas.stages.latency import reachable_ms

    run = Run.from_folder(folder, Reporter(is_quiet=True), moved={"lut": lut, "space.name": space})
    history = run.files.read_evaluations()
    run.space.as_array([e.architecture for e in history])
    latency, percentile = read_latency(run), run.config.percentile
    largest_ms = max([latency.max_ms, *latency.more_ms.values()])
    limits = hard_limits_of(run, latency).with_maximum("latency_ms", largest_ms * latency.margin)
    agent = GeneratorAgent(run.space, limits, run.rng("emit"))
    agent.tell(history)
    rows: list[list[str]] = []
    found = []
    for text in budgets:
        max_ms = reachable_ms(latency.model, Budget.parse(text), run.reporter)
        if max_ms > largest_ms:
            raise RequestError(
                f"the search looked at networks of at most {format_ms(largest_ms, percentile)}; it cannot tell which "
                f"is best under {format_ms(max_ms, percentile)}: give a smaller budget, or search again with a larger "
                "one"
            )
        architecture = agent.emit(limits.with_maximum("latency_ms", max_ms * latency.margin))
        predicted_ms = latency.model.predict_one_ms(architecture)
        elsewhere = {m.name: m.latency.model.predict_one_ms(architecture) for m in latency.fleet}
        found.append(
            {
                "budget_ms": None if isinf(max_ms) else max_ms,
                "predicted_ms": predicted_ms,
                **({"predicted_elsewhere_ms": elsewhere} if elsewhere else {}),
                "architecture": list(architecture),
            }
        )
        predicted = [f"{ms:.4g}" for ms in (predicted_ms, *elsewhere.values())]
        rows.append([budget_text(max_ms), *predicted, "-".join(map(str, architecture))])
    if as_json:
        print_json(found)
        return
    ms = ms_column(percentile)
    title = f"{run.spec}: by {len(history)} evaluations"
    columns = [f"budget {ms}", f"predicted {ms}", *(f"on {member.name}" for member in latency.fleet), "architecture"]
    print_table(title, columns, rows)
