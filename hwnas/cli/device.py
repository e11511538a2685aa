"""`hwnas devices` and `hwnas device`: what can be measured, and boards that are served or emulated here."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.arguments import DevicesFile, Json
from hwnas.cli.commands import Group
from hwnas.cli.completion import names_of
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged

devices_app = typer.Typer(
    cls=Group, help="List the devices that can be profiled, and check them.", invoke_without_command=True
)
device_app = typer.Typer(cls=Group, help="Serve this board to others, or emulate one.", no_args_is_help=True)


@devices_app.callback()
def devices(
    context: typer.Context,
    file: DevicesFile = None,
    as_json: Json = False,
) -> None:
    """List the devices that can be profiled, and the runtimes that are installed here."""
    context.obj = (file, as_json)
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from profilers.device import load_devices
    from profilers.installed import installed_runtimes

    found = load_devices(file).values()
    runtimes = installed_runtimes()
    if as_json:
        versions = {runtime.name: runtime.version for runtime in runtimes}
        print_json([{**asdict(d), "installed_runtime": versions.get(d.runtime)} for d in found])
        return
    print_table(
        "devices",
        ["device", "runtime", "threads", "batch", "description"],
        [[d.name, d.runtime, str(d.threads), str(d.batch), d.description] for d in found],
    )
    print_table(
        "runtimes on this machine",
        ["runtime", "installed", "models in", "computes floats in", "to install it"],
        [[r.name, r.version or "no", ", ".join(r.precisions), ", ".join(r.arithmetics), r.remedy] for r in runtimes],
    )


@devices_app.command()
def check(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The device.", autocompletion=names_of("device"))],
    file: DevicesFile = None,
    as_json: Json = False,
) -> None:
    """Test whether a device can be measured, and say what to do if not."""
    from dataclasses import asdict

    from hwnas.profiling import onnx_cache
    from profilers.check import Finding, check_device
    from profilers.device import find_device
    from search_spaces.blocks.mbconv import MBConv
    from search_spaces.onnx_export import export_block

    # Both may stand before `check` too.
    file_before, as_json_before = context.obj
    as_json = as_json or as_json_before
    device = find_device(name, file or file_before)
    block = MBConv(in_channels=8, out_channels=8, input_size=16, kernel=3, expansion=3)
    findings: list[Finding] = []
    for finding in check_device(device, export_block(block, onnx_cache(), batch=device.batch, opset=device.opset)):
        findings.append(finding)
        if not as_json:
            remedy = f"; {finding.remedy}" if finding.remedy and finding.remedy not in finding.text else ""
            print(f"{'ok' if finding.is_good else 'FAILED':6} {finding.step}: {finding.text}{remedy}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)


@device_app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback let anyone run code.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, ranged("port", "Port to listen on.")] = 9090,
    key: Annotated[str, typer.Option(help="What the tracker and clients ask for.")] = "",
    tracker: Annotated[str | None, typer.Option(help="HOST:PORT of a TVM tracker to offer this board to.")] = None,
) -> None:
    """Run TVM's RPC server on this board, and start it again whenever it crashes or hangs."""
    import subprocess
    import sys

    from profilers import rpc_supervisor

    arguments = ["--host", host, "--port", str(port), "--key", key, *(["--tracker", tracker] if tracker else [])]
    raise typer.Exit(subprocess.run([sys.executable, rpc_supervisor.__file__, *arguments], check=False).returncode)


@device_app.command()
def track(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, ranged("port_with_next", "Port to listen on.")] = 9190,
) -> None:
    """Run TVM's tracker, which hands out boards by key."""
    import subprocess
    import sys

    arguments = ["-m", "tvm.exec.rpc_tracker", "--host", host, "--port", str(port), "--port-end", str(port + 1)]
    raise typer.Exit(subprocess.run([sys.executable, *arguments], check=False).returncode)


@device_app.command()
def emulate(
    board: Annotated[str, typer.Argument(help="rpi4.")],
    port: Annotated[int | None, ranged("port", "Port of its TVM RPC server [9190].")] = None,
    key: Annotated[str | None, typer.Option(help="What a tracker and clients ask for.")] = None,
    tracker: Annotated[str | None, typer.Option(help="HOST:PORT of a TVM tracker to offer the board to.")] = None,
    set_up_only: Annotated[bool, typer.Option(help="Do not start its TVM RPC server.")] = False,
) -> None:
    """Set up an emulated board under QEMU, and run its TVM RPC server on loopback."""
    import subprocess

    from hwnas.cli.idle_flags import refuse_beside
    from hwnas.errors import RequestError
    from hwnas.progress import Reporter
    from profilers import rpc_supervisor
    from profilers.emulator import set_up_rpi4

    if board != "rpi4":
        raise RequestError(f"unknown board {board!r}; there is: rpi4")
    if set_up_only:
        refuse_beside("--set-up-only", port=port, key=key, tracker=tracker)
    reporter = Reporter()
    python = set_up_rpi4(reporter.line)
    reporter.line(f"its python is {python}")
    if set_up_only:
        return
    arguments = ["--port", str(port or 9190), "--key", key or "", *(["--tracker", tracker] if tracker else [])]
    raise typer.Exit(subprocess.run([str(python), rpc_supervisor.__file__, *arguments], check=False).returncode)
