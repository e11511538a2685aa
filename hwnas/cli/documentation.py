"""`hwnas docs`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.completion import pages
from hwnas.cli.printing import print_table


def docs(
    page: Annotated[str | None, typer.Argument(help="A page; all are listed without.", autocompletion=pages)] = None,
) -> None:
    """Print a page of the documentation, or which there are and where they lie."""
    from hwnas import documentation

    if page is not None:
        print(documentation.text_of(page))
        return
    rows = [[name, documentation.title(path)] for name, path in documentation.pages().items()]
    print_table(f"pages, in {documentation.folder()}", ["page", "title"], rows, is_prose=True)
