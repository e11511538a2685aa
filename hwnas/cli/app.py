"""The application and its commands."""

from __future__ import annotations

import typer

from hwnas.cli import compare, device, emit, front, listing, lut, parts, profile, report, run, tune
from hwnas.cli.arguments import all_callbacks, with_paths_expanded
from hwnas.cli.code import may_run_code

app = typer.Typer(
    name="hwnas",
    help="Hardware-aware neural architecture search: from a latency budget on your device to a verified ONNX model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("profile")(profile.profile)
app.command("search", help="Find, retrain and export the best network under a latency budget.")(run.command("export"))
app.command("train", help="Only train the supernet of a run.")(run.command("train"))
app.command("retrain")(run.retrain)
app.command("export")(run.export)
app.command("compare")(compare.compare)
app.command("front")(front.front)
app.command("emit")(emit.emit)
app.command("report")(report.report)
app.command("watch")(report.watch)
app.command("tune")(tune.tune)
app.command("spaces")(listing.spaces)
app.command("list")(parts.list_parts)
app.command("new")(parts.new)
app.add_typer(lut.app, name="lut")
app.add_typer(device.devices_app, name="devices")
app.add_typer(device.device_app, name="device")

NEVER_RUN_CODE = {
    *("list_parts", "new", "spaces"),
    *("diff", "import_"),
    *("devices", "emulate", "serve", "track"),
}
"""Commands that name no parts and read no files that do, by their functions."""

for _command in all_callbacks(app):
    assert _command.callback is not None
    _command.callback = with_paths_expanded(_command.callback)
    if _command.callback.__name__ not in NEVER_RUN_CODE:
        _command.callback = may_run_code(_command.callback)
