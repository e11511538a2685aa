"""The flag of commands that find the search space by the table that they name."""

from __future__ import annotations

from typing import Annotated

import typer

TableSpace = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="The table's search space, where its file has moved; of your own network the file that hwnas convert -o "
        "wrote [network.safetensors beside the table].",
    ),
]
