"""The application and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli import (
    compare,
    components,
    convert,
    device,
    documentation,
    emit,
    explain,
    front,
    listing,
    lut,
    predict,
    profile,
    report,
    run,
    settings,
    tune,
    ui,
)
from hwnas.cli.arguments import all_callbacks, with_paths_expanded
from hwnas.cli.code import may_run_code
from hwnas.cli.commands import Command, Group, RunCommand
from hwnas.cli.parameters import with_fields_as_flags

app = typer.Typer(
    name="hwnas",
    help="Hardware-aware neural architecture search: from a latency budget on your device to a verified ONNX model.",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from hwnas import __version__

        typer.echo(f"hwnas {__version__}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Have no effect: the flags of the program itself act by themselves."""


app.command("profile")(profile.profile)
app.command("search", cls=RunCommand, help="Find, retrain and export the best network under a latency budget.")(
    run.command("export")
)
app.command("train", cls=RunCommand, help="Only train the supernet of a run.")(run.command("train"))
app.command("convert")(convert.convert)
app.command("retrain")(run.retrain)
app.command("export")(run.export)
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.command("predict")(predict.predict)
app.command("front")(front.front)
app.command("emit")(emit.emit)
app.command("report")(report.report)
app.command("watch")(report.watch)
app.command("ui")(ui.ui)
app.command("tune")(tune.tune)
app.command("docs")(documentation.docs)
app.command("settings")(settings.settings)
app.command("spaces")(listing.spaces)
app.command("list")(components.list_components)
app.command("new")(components.new)
app.add_typer(lut.app, name="lut")
app.add_typer(device.devices_app, name="devices")
app.add_typer(device.device_app, name="device")

NEVER_RUN_CODE = {
    *("program", "list_components", "new", "docs", "settings", "spaces"),
    *("diff", "import_"),
    *("devices", "emulate", "serve", "track"),
}
"""Commands that name no components and read no files that do, by their functions."""

for _command in all_callbacks(app):
    assert _command.callback is not None
    if isinstance(_command, typer.models.CommandInfo) and _command.cls is not RunCommand:
        _command.cls = Command
    _command.callback = with_paths_expanded(with_fields_as_flags(_command.callback))
    if _command.callback.__name__ not in NEVER_RUN_CODE:
        _command.callback = may_run_code(_command.callback)
