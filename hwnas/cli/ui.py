"""`hwnas ui`."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.interruption import Interruption
from hwnas.cli.ranges import ranged


def ui(
    folder: Annotated[Path, typer.Argument(help="The folder that runs and tables are in.")] = Path("runs"),
    port: Annotated[int, ranged("port_or_any", "Port on this machine; 0 for a free one.")] = 8764,
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = False,
) -> None:
    """Look at runs and latency tables in the browser: list, compare, read reports; on this machine only."""
    from hwnas.errors import RequestError
    from hwnas.progress import Reporter
    from hwnas.ui import make_ui_server

    if not folder.is_dir():
        raise RequestError(f"expected a folder of runs, found none at {folder}; give the one that --out names runs in")
    try:
        server = make_ui_server(folder, port, warn=Reporter(is_quiet=True).warn)
    except OSError as error:
        raise RequestError(f"cannot serve on port {port}: {error.strerror}; give another --port") from error
    address = f"http://{server.server_name}:{server.server_port}/"
    typer.echo(f"{address}  (Ctrl-C ends it)")
    if is_opened:
        # Some browsers take the terminal until they are closed, and the pages must be served meanwhile.
        threading.Thread(target=webbrowser.open, args=(address,), name="browser", daemon=True).start()
    try:
        server.serve_forever()
    except Interruption:  # the way to end it
        typer.echo("ended", err=True)
    finally:
        server.server_close()
