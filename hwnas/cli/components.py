"""`hwnas new` and `hwnas list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.arguments import Json
from hwnas.cli.completion import kinds
from hwnas.cli.printing import print_json, print_table

Kind = Annotated[
    str,
    typer.Argument(
        help="space, block, task, criterion, dataflow, training-strategy, search-agent, evaluator or profiler-worker; "
        "or, as its flag is called, data, strategy or agent.",
        autocompletion=kinds,
    ),
]

NAMED_BY_FLAGS = {"agent": "search-agent", "data": "dataflow", "strategy": "training-strategy"}
"""Kinds of components by the flags that take them, where these are called otherwise."""


def new(
    kind: Kind,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    folder: Annotated[Path, typer.Option(help="Where to.")] = Path(),
) -> None:
    """Write a component of your own that runs as it stands, with a test."""
    from hwnas.scaffold import generate

    path, test = generate(NAMED_BY_FLAGS.get(kind, kind), name, folder)
    typer.echo(f"{path}: {path.read_text(encoding='utf-8').splitlines()[0].strip(chr(34))}")
    typer.echo(f"{test}: run it with python -m pytest {test}")


def list_components(
    kind: Kind,
    as_json: Json = False,
) -> None:
    """List the built-in components of a kind."""
    from hwnas.components import built_ins, summary_line

    found = built_ins(NAMED_BY_FLAGS.get(kind, kind))
    rows = [{"name": name, "description": summary_line(component)} for name, component in sorted(found.items())]
    if as_json:
        print_json(rows)
    else:
        print_table(
            f"{kind}: built in",
            ["name", "what it is"],
            [[row["name"], row["description"]] for row in rows],
            is_prose=True,
        )
