"""The ways to devices that are not this machine, as devices files describe them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from profilers.quoting import require_printable

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

TERMUX_PYTHON = "/data/data/com.termux/files/usr/bin/python3"


def _in_login_folder(path: str) -> str:
    """Return a path on a board without the `~/` that nobody would expand there: ssh begins in that folder."""
    return path.removeprefix("~/")


def _program(name: str) -> str:
    """Return a program on a phone, where nobody expands `~/`, and what begins with - would be a flag."""
    if name.startswith(("~", "-")) or not name.strip():
        raise ValueError("expected a program there, by its name or its path from the root on")
    return require_printable(name)


def _from_root(folder: str) -> str:
    """Return a folder on a phone without a slash at its end."""
    if not folder.startswith("/") or not folder.strip("/"):
        raise ValueError("expected a folder there by its path from the root on, such as /data/local/tmp/hwnas")
    return require_printable(folder).rstrip("/")


def _serial(number: str) -> str:
    if not re.fullmatch(r"[^-\s]\S*", number):
        raise ValueError("expected a serial number as `adb devices` prints it")
    return require_printable(number)


_There = Annotated[str, Field(min_length=1), AfterValidator(_in_login_folder)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Rpc:
    """TVM's RPC server on a board, or the tracker that knows boards by key."""

    host: Annotated[
        str, Field(min_length=1, description="Of the server, or of the tracker.", examples=["raspberrypi.local"])
    ]
    port: Annotated[int, Field(ge=1, le=65535, description="Where it listens.")] = 9090
    tracker: Annotated[bool, Field(description="Whether a tracker at that address hands out boards.")] = False
    key: Annotated[str, Field(description="Of the boards that the tracker hands out.", examples=["rpi4"])] = ""
    boards: Annotated[
        int,
        Field(ge=1, le=256, description="So many boards of the key measure together, each its share of the blocks."),
    ] = 1

    @model_validator(mode="after")
    def _tracker_needs_key(self) -> Rpc:
        if self.tracker and not self.key:
            raise ValueError("a tracker needs the key of the boards")
        if self.boards > 1 and not self.tracker:
            raise ValueError("several boards are reached through a tracker; set tracker: true and their key")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Ssh:
    """A board that the system's ssh reaches, by its name in the user's ssh configuration."""

    host: Annotated[
        str,
        Field(
            min_length=1,
            pattern=r"^[^-].*",
            description="A name of your ssh configuration, or an address.",
            examples=["raspberrypi.local"],
        ),
    ]
    python: Annotated[
        _There,
        Field(
            description="What runs the worker there, from the home folder on: that of a virtual environment.",
            examples=["hwnas-env/bin/python"],
        ),
    ] = "python3"
    folder: Annotated[_There, Field(description="Where models are kept there, from the home folder on.")] = (
        ".cache/hwnas"
    )
    options: Annotated[
        tuple[str, ...], Field(description="Further arguments for ssh and scp.", examples=[["-o", "Port=22"]])
    ] = ()


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Adb:
    """A phone, or another board that runs Android's debug daemon, and that the system's adb reaches."""

    serial: Annotated[
        Annotated[str, AfterValidator(_serial)] | None,
        Field(description="As `adb devices` prints it [the only one that is connected].", examples=["1A2B3C4D5E6F"]),
    ] = None
    python: Annotated[
        str,
        AfterValidator(_program),
        Field(description="What runs the worker there; adb's user must be allowed to.", examples=[TERMUX_PYTHON]),
    ] = "python3"
    folder: Annotated[
        str, AfterValidator(_from_root), Field(description="Where models are kept there, from the root on.")
    ] = "/data/local/tmp/hwnas"
