"""The search space that a latency table is of, found where a command names the table alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lut import LatencyTable
    from search_spaces import SearchSpace

TableSpace = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="The table's search space, where its file has moved; of your own network the file that hwnas convert -o "
        "wrote [network.safetensors beside the table].",
    ),
]


def space_of(table: LatencyTable, path: Path, given: str | None = None) -> SearchSpace:
    """Return the search space of a table; what finds it is slow to import, and so imported when it is needed."""
    from hwnas.pipeline import table_space

    return table_space.space_of(table, path, given)
