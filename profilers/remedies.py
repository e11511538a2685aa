"""What to do about a device that does not answer."""

from __future__ import annotations

import shlex

from profilers.device import Device
from profilers.runtime import runtime_of
from profilers.ways import Ssh

ENVIRONMENT = "hwnas-env"
"""The virtual environment that is proposed for boards: their systems' own pip refuses to install (PEP 668)."""


def remedy(device: Device) -> str:
    """Return what to try, and the page that tells more."""
    packages = ["numpy", *runtime_of(device.runtime).packages.values()]
    if device.emulated:
        return "start it: hwnas device emulate rpi4"
    if device.rpc is not None and device.rpc.tracker:
        return (
            f"start the tracker there, and on each board: hwnas device serve --host 0.0.0.0 --key {device.rpc.key} "
            f"--tracker {device.rpc.host}:{device.rpc.port}; see: hwnas docs devices"
        )
    if device.rpc is not None:
        port = device.rpc.port
        return f"on the board run: hwnas device serve --host 0.0.0.0 --port {port}; see: hwnas docs devices"
    if device.ssh is not None:
        return _over_ssh(device.ssh, " ".join(packages))
    needs = f"its python needs {' and '.join(packages)}"
    if device.adb is not None:
        program = "adb" if device.adb.serial is None else f"adb -s {shlex.quote(device.adb.serial)}"
        return f"try: {program} shell {_version_of(device.adb.python)}; {needs}; see: hwnas docs boards"
    return f"{needs}; see: hwnas docs devices" if device.command else "see: hwnas docs devices"


def _over_ssh(ssh: Ssh, packages: str) -> str:
    reach = f"ssh {ssh.host} {_version_of(ssh.python)}"
    make = f"python3 -m venv {ENVIRONMENT} && {ENVIRONMENT}/bin/pip install {packages}"
    name_it = f"ssh: {{python: {ENVIRONMENT}/bin/python}}"
    return f"try: {reach}; on the board: {make}; then in the devices file {name_it}; see: hwnas docs boards"


def _version_of(python: str) -> str:
    """Return a command for the board's shell, quoted for the shell here."""
    return shlex.quote(f"{shlex.quote(python)} --version")
