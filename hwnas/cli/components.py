"""`hwnas new` and `hwnas list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.arguments import Json
from hwnas.cli.completion import kinds, kinds_and_device
from hwnas.cli.printing import print_json, print_table

Kind = Annotated[
    str,
    typer.Argument(
        help="space, block, task, criterion, dataflow, training-strategy, search-agent, evaluator, tracker or "
        "profiler-worker; or, as its flag is called, data, strategy or agent.",
        autocompletion=kinds,
    ),
]

NewKind = Annotated[
    str,
    typer.Argument(
        help="space, block, task, criterion, dataflow, training-strategy, search-agent, evaluator, tracker or "
        "profiler-worker; or, as its flag or class is called, data, strategy, agent or training-agent; or device.",
        autocompletion=kinds_and_device,
    ),
]

OTHER_NAMES = {
    "agent": "search-agent",
    "data": "dataflow",
    "strategy": "training-strategy",
    "training-agent": "task",
}
"""Kinds of components by what their flags or their classes are called, where that is something else."""


def new(
    kind: NewKind,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    folder: Annotated[Path, typer.Option(help="Where to.")] = Path(),
) -> None:
    """Write a component of your own that runs as it stands, with a test; or a devices file for a device of yours."""
    from hwnas.scaffold import generate

    if kind == "device":
        _new_device(name, folder)
        return
    path, test = generate(OTHER_NAMES.get(kind, kind), name, folder)
    typer.echo(f"{path}: {path.read_text(encoding='utf-8').splitlines()[0].strip(chr(34))}")
    typer.echo(f"{test}: run it with python -m pytest {test}")


def _new_device(name: str, folder: Path) -> None:
    import shlex

    from hwnas.device_file import write_device

    path = write_device(name, folder)
    file = shlex.quote(str(path))
    typer.echo(f"{path}: the device {name}, so far this machine; say in it what it is, every field is there")
    typer.echo(f"then: hwnas devices check {name} --devices {file}")
    typer.echo(f"then: hwnas profile --device {name} --devices {file} --space fbnet-s -o {name}.lut.json")
    typer.echo("boards and phones, from unpacking to a table: hwnas docs boards")


def list_components(
    kind: Kind,
    as_json: Json = False,
) -> None:
    """List the built-in components of a kind."""
    from hwnas.components import built_ins, summary_line

    found = built_ins(OTHER_NAMES.get(kind, kind))
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
