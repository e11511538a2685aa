"""Devices files of one's own: what their fields mean, and a first one."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path

from hwnas.errors import RequestError
from hwnas.scaffold import write_new
from hwnas.settings import Setting, settings_of
from profilers.device import Device
from profilers.runtime import OWN_RUNTIME, RUNTIMES
from safe_files import dump_yaml

OWN = "your own"
"""Stands for workers of one's own where runtimes are listed."""

LINE = 112
"""Characters of a line of comments."""

HEADER = """\
# Devices of your own, for --devices. Lines that begin with # and no blank are off: remove the # of what you need.
# So far the device is this machine; a board needs one way to it: ssh, adb, command with copy, or TVM's rpc.
# Then: hwnas devices check {name} --devices {file}
# Boards and phones, from unpacking to a table: hwnas docs boards

"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceField:
    """A field of a device, or of the way to it.

    Attributes:
        runtimes: those that know it; none where all do.
    """

    setting: Setting
    runtimes: tuple[str, ...]

    def as_row(self) -> dict[str, str]:
        """Return what there is to say about it, by column."""
        return {
            "name": self.setting.name,
            "default": self.setting.default_text,
            "takes": self.setting.takes,
            "runtimes": ", ".join(self.runtimes),
            "meaning": self.setting.about.meaning,
        }


def device_fields() -> Iterator[DeviceField]:
    """Yield the fields of an entry in a devices file; those of a way to a board after the way itself."""
    for setting in settings_of(Device):
        if setting.name == "name":
            continue  # the key of the entry
        runtimes = _runtimes_of(setting.name)
        yield DeviceField(setting=setting, runtimes=runtimes)
        if is_dataclass(setting.kind):
            inner = settings_of(setting.kind, f"{setting.name}.")
            yield from (DeviceField(setting=part, runtimes=runtimes) for part in inner)


def _runtimes_of(name: str) -> tuple[str, ...]:
    knowing = [runtime for runtime, record in RUNTIMES.items() if name in record.device_fields]
    return (*knowing, OWN) if name in OWN_RUNTIME.device_fields else tuple(knowing)


def write_device(name: str, folder: Path) -> Path:
    """Write a devices file with one device, this machine so far; every other field stands there as a comment.

    Raises:
        RequestError: the name is none, the file is there already, or it cannot be.
        WriteError: there is no room.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,60}", name):
        raise RequestError(f"a name begins with a letter and has letters, digits, - and _ only; got {name!r}")
    path = folder / f"{name}.yaml"
    write_new({path: _text(name, path.name)}, folder)
    return path


def _text(name: str, file: str) -> str:
    lines = [line for field in device_fields() for line in _lines(field)]
    key = dump_yaml({name: None}).partition(":")[0]
    return HEADER.format(name=name, file=file) + f"{key}:\n" + "\n".join(lines) + "\n"


def _lines(field: DeviceField) -> list[str]:
    """Return what a devices file says of a field: its meaning, and a value, which is off but for the runtime."""
    setting = field.setting
    is_way = is_dataclass(setting.kind)
    inside, _, name = setting.name.rpartition(".")
    known_by = f" For {', '.join(field.runtimes)}." if field.runtimes and not inside else ""
    takes = "" if is_way else f" Takes: {setting.takes}."
    said = [f"# {line}" for line in textwrap.wrap(f"{setting.about.meaning}{known_by}{takes}", LINE)]
    value = f"{name}:" if is_way else f"{name}: {json.dumps(setting.example)}"
    if inside:
        return [f"  #  {line}" for line in (*said, value)]
    return ["", *(f"  {line}" for line in said), f"  {value if name == 'runtime' else f'#{value}'}"]
