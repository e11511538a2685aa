"""The device of a run."""

from __future__ import annotations

from hwnas.config import RunConfig
from hwnas.errors import RequestError
from lut import LatencyTable
from profilers import Device
from profilers.device import UNKNOWN, adjusted, find_device


def device_of(config: RunConfig, table: LatencyTable | None, *, flag: str = "--device") -> Device:
    """Return the device that latencies are about: the configuration's, else the table's, else this machine's CPU.

    Args:
        table: the one that was given, if one was.
        flag: that gives the device, as messages name it.

    Raises:
        RequestError: the table was measured on another device.
    """
    if table is None:
        return find_device(config.device or "cpu", config.devices)
    settings = table.provenance.device
    if table.is_imported and config.device is None:
        return Device(name=settings["name"], runtime=UNKNOWN, batch=settings["batch"])
    device = find_device(config.device or settings["name"], config.devices)
    if table.is_imported:  # whoever names a device knows that it is such a one
        return adjusted(device, batch=settings["batch"])
    if device.name != settings["name"]:
        raise RequestError(f"{config.lut} was measured on {settings['name']!r}, but {flag} is {device.name!r}")
    # Networks are measured as the table's blocks were, whatever the devices file says by now.
    return adjusted(device, threads=settings["threads"], batch=settings["batch"], tuning=settings.get("tuning"))
