"""`hwnas report` and `hwnas watch`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from hwnas.cli.arguments import MovedSpace, RunFolder
from hwnas.cli.ranges import ranged


def report(folder: RunFolder, space: MovedSpace = None) -> None:
    """Write a run's report.html again, as far as the run is."""
    from hwnas.pipeline.reporting import write_report
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter

    typer.echo(write_report(Run.from_folder(folder, Reporter(is_quiet=True), moved={"space.name": space})))


def watch(
    folder: RunFolder,
    port: Annotated[int, ranged("port_or_any", "Port on this machine; 0 for a free one.")] = 8765,
    space: MovedSpace = None,
) -> None:
    """Show a running run's report in the browser, on this machine only."""
    from hwnas.errors import RequestError
    from hwnas.pipeline.reporting import render_report
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter
    from hwnas.report.watch import make_server

    run = Run.from_folder(folder, Reporter(is_quiet=True), moved={"space.name": space})
    try:
        server = make_server(partial(render_report, run), port, warn=run.reporter.warn)
    except OSError as error:
        raise RequestError(f"cannot serve on port {port}: {error.strerror}; give another --port") from error
    typer.echo(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)")
    server.serve_forever()
