"""Devices by name, from devices.yaml."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import (
    Annotated,
    Literal,
    NotRequired,  # pydantic reads Python's own from 3.12 on only
)

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from profilers.errors import DeviceError
from profilers.quoting import require_printable
from profilers.runtime import RUNTIMES, owners_of, runtime_of
from profilers.ways import STRICT, Adb, Rpc, Ssh
from safe_files import FileError, expanded, first_fault, read_yaml
from safe_files.code_trust import UntrustedCodeError, is_file, require_trusted

UNKNOWN = "unknown"
"""The runtime of devices that are not at hand: others measured there, and nothing can be measured."""

_RUNTIME = rf"^({'|'.join(RUNTIMES)}|{UNKNOWN}|.+\.py)$"

_Line = Annotated[str, AfterValidator(require_printable)]
_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_Here = Annotated[str, AfterValidator(expanded)]
"""A program or file of this machine."""


def _beginning_here(command: tuple[str, ...]) -> tuple[str, ...]:
    return (*map(expanded, command[:1]), *command[1:])


_Command = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_beginning_here)]
_Threads = Annotated[int, Field(ge=1, le=1024)]
_Core = Annotated[int, Field(ge=0)]
_Batch = Annotated[int, Field(ge=1, le=4096)]
_Provider = Annotated[str, Field(pattern=r"^(cpu|cuda|[A-Za-z0-9]{1,60}ExecutionProvider)$")]
_ProviderOptions = dict[_Line, _Line | int | float | bool]
_Arithmetic = Literal["fp32", "fp16", "bf16"]
_Opset = Annotated[int, Field(ge=13, le=20)]


@with_config(STRICT)
class DeviceSettings(TypedDict):
    """Device settings that measurements depend on, as tables and journals keep them; one left out is the default."""

    name: str
    runtime: str
    threads: _Threads
    cores: list[_Core] | None
    batch: _Batch
    target: NotRequired[str]
    tuning: NotRequired[Literal["none", "meta_schedule"]]
    provider: NotRequired[_Provider]
    provider_options: NotRequired[_ProviderOptions]
    arithmetic: NotRequired[_Arithmetic]
    emulated: NotRequired[bool]
    opset: NotRequired[_Opset]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Device:
    """A device, and how models are timed on it; `hwnas devices --show` prints what is said of every field."""

    name: Annotated[_Line, Field(description="What --device takes: the key of the entry.")]
    description: Annotated[
        str, Field(description="One line for `hwnas devices`.", examples=["the board on my desk"])
    ] = ""
    runtime: Annotated[
        _Line,
        AfterValidator(expanded),
        Field(
            pattern=_RUNTIME,
            description="What executes the networks: a built-in runtime, or the path of a worker of your own.",
            examples=["onnxruntime"],
        ),
    ]
    threads: Annotated[_Threads, Field(description="Intra-op threads of the runtime.")] = 1
    cores: Annotated[
        tuple[_Core, ...] | None,
        Field(
            description="Cores that the worker is pinned to, as many as threads "
            "[the last ones that this process may use].",
            examples=[[1]],
        ),
    ] = None
    batch: Annotated[_Batch, Field(description="Images per forward pass.")] = 1
    opset: Annotated[
        _Opset | None,
        Field(description="Of exported models, where the runtime does not know ONNX's newer ones.", examples=[17]),
    ] = None
    start_timeout_s: Annotated[_Seconds, Field(description="Deadline of starting a worker, in seconds.")] = 60.0
    open_timeout_s: Annotated[
        _Seconds, Field(description="Deadline of compiling one model, loading it and running it once, in seconds.")
    ] = 30.0
    visit_timeout_s: Annotated[_Seconds, Field(description="Deadline of one timed visit of one model, in seconds.")] = (
        20.0
    )
    emulated: Annotated[
        bool, Field(description="Whether times are not the device's: its tables are marked, and search refuses them.")
    ] = False
    provider: Annotated[
        _Provider,
        Field(
            description="ONNX Runtime's execution provider: cpu, cuda, or the name of any that the installed "
            "onnxruntime has, such as OpenVINOExecutionProvider; what it leaves to the CPU is told in tables."
        ),
    ] = "cpu"
    provider_options: Annotated[
        _ProviderOptions | None,
        Field(description="Options of ONNX Runtime's provider, by name.", examples=[{"device_type": "CPU"}]),
    ] = None
    arithmetic: Annotated[
        _Arithmetic, Field(description="What the runtime computes float models in; mnn takes no bf16.")
    ] = "fp32"
    ssh: Annotated[Ssh | None, Field(description="The worker runs on a board that the system's ssh reaches.")] = None
    adb: Annotated[Adb | None, Field(description="The worker runs on a phone that the system's adb reaches.")] = None
    command: Annotated[
        _Command | None,
        Field(
            description="The worker runs behind this command, a python of another place; {boards} in it is the folder "
            "of emulated boards.",
            examples=[["docker", "exec", "-i", "board", "python3"]],
        ),
    ] = None
    copy: Annotated[
        _Command | None,
        Field(
            description="Copies a file to where `command` runs [both see the same files].",
            examples=[["docker", "cp", "{local}", "board:{remote}"]],
        ),
    ] = None
    folder: Annotated[str, Field(description="Where `copy` puts files.")] = "/tmp/hwnas"  # noqa: S108 - elsewhere, where its user may choose another
    target: Annotated[
        _Line | None,
        Field(
            description="What TVM compiles for: native, a tag such as raspberry-pi/4b-aarch64, or its JSON; which of "
            "its devices OpenVINO takes: CPU, GPU, GPU.1 or NPU.",
            examples=["native"],
        ),
    ] = None
    cross_compiler: Annotated[
        _Here | None, Field(description="Links for another architecture.", examples=["aarch64-linux-gnu-gcc"])
    ] = None
    rpc: Annotated[
        Rpc | None, Field(description="The board runs TVM's RPC server: `hwnas device serve`, or rpc_supervisor.py.")
    ] = None
    tuning: Annotated[
        Literal["none", "meta_schedule"],
        Field(description="TVM's default schedules, whose ranking is unreliable on CPUs; or what `hwnas tune` found."),
    ] = "none"

    @model_validator(mode="after")
    def _cores_match_threads(self) -> Device:
        if self.cores is not None and len(set(self.cores)) != self.threads:
            raise ValueError(f"cores must be {self.threads} distinct numbers, one per thread, got {list(self.cores)}")
        return self

    @model_validator(mode="after")
    def _fields_fit_the_runtime(self) -> Device:
        runtime = runtime_of(self.runtime)
        for name, meaning in runtime.required_fields.items():
            if getattr(self, name) is None:
                raise ValueError(f"runtime {self.runtime} needs {meaning}")
        foreign = {name for other in RUNTIMES.values() for name in other.device_fields} - {*runtime.device_fields}
        for name in sorted(foreign):
            if getattr(self, name) != _DEFAULTS[name]:
                owners = " or ".join(owners_of(name))
                raise ValueError(f"{name} belongs to devices of runtime {owners}; set that runtime, or leave it out")
        if self.arithmetic not in runtime.arithmetics:
            raise ValueError(
                f"runtime {self.runtime} computes in {' or '.join(runtime.arithmetics)}, not in {self.arithmetic}"
            )
        ways = [name for name in ("ssh", "adb", "command") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"a device is behind one of ssh, adb and a command, not behind {' and '.join(ways)}")
        if self.copy and not self.command:
            raise ValueError("copy belongs to command")
        return self

    @property
    def is_here(self) -> bool:
        """Whether models run on this very machine, natively."""
        return not (self.rpc or self.ssh or self.adb or self.command or self.emulated)

    @property
    def is_measurable(self) -> bool:
        """Whether anything can be measured there."""
        return self.runtime != UNKNOWN

    def settings(self) -> DeviceSettings:
        """Return what a measurement depends on: all but the description, the way there and the deadlines."""
        settings = DeviceSettings(
            name=self.name,
            runtime=self.runtime,
            threads=self.threads,
            cores=None if self.cores is None else list(self.cores),
            batch=self.batch,
        )
        if self.target is not None:
            settings["target"] = self.target
        if self.tuning != "none":
            settings["tuning"] = self.tuning
        if self.provider != "cpu":
            settings["provider"] = self.provider
        if self.provider_options:
            settings["provider_options"] = dict(self.provider_options)
        if self.arithmetic != "fp32":
            settings["arithmetic"] = self.arithmetic
        if self.emulated:
            settings["emulated"] = True
        if self.opset is not None:
            settings["opset"] = self.opset
        return settings


_DEFAULTS = {field.name: field.default for field in fields(Device)}


def load_devices(path: Path | None = None) -> dict[str, Device]:
    """Return all devices of a file by name; without a file, those of the shipped devices.yaml.

    Raises:
        DeviceError: the file cannot be read or says something else than devices.
    """
    path = path or shipped_file()
    try:
        content = read_yaml(path)
    except FileError as error:
        raise DeviceError(str(error)) from error
    if not isinstance(content, dict) or not content:
        raise DeviceError(f"{path} must map device names to their settings, got {type(content).__name__}")
    if unnamed := [name for name in content if not isinstance(name, str)]:
        raise DeviceError(f"{path}: expected texts as names of devices, found {unnamed[0]!r}; put it in quotes")
    return {name: _parse(name, settings, path) for name, settings in content.items()}


def find_device(name: str, path: Path | None = None) -> Device:
    """Return the device of that name.

    Raises:
        DeviceError: there is none, or its worker is a file of code that may not be run.
    """
    devices = load_devices(path)
    if name not in devices:
        own = "" if path else "; one of your own is in a file for --devices FILE: hwnas new device NAME writes it"
        raise DeviceError(f"unknown device {name!r}; {path or 'devices.yaml'} has: {', '.join(sorted(devices))}{own}")
    require_trusted_runtime(devices[name])
    return devices[name]


def require_trusted_runtime(device: Device) -> None:
    """Find out whether a device's worker is one of ours, or a file of code that may be run.

    Raises:
        DeviceError: it may not.
    """
    try:
        if is_file(device.runtime):
            require_trusted(f"device {device.name!r}", device.runtime)
    except UntrustedCodeError as error:
        raise DeviceError(str(error)) from error


def adjusted(
    device: Device,
    *,
    threads: int | None = None,
    batch: int | None = None,
    tuning: str | None = None,
    runtime: str | None = None,
) -> Device:
    """Return the device with other settings; fixed cores are given up where their number does not fit.

    Raises:
        DeviceError: a setting is out of range.
    """
    wanted = {"threads": threads, "batch": batch, "tuning": tuning, "runtime": runtime}
    changes = {name: value for name, value in wanted.items() if value is not None}
    settings = {**asdict(device), **changes}
    if settings["cores"] is not None and len(settings["cores"]) != settings["threads"]:
        settings["cores"] = None
    return _parse(device.name, settings, Path("command line"))


def require_measurable(device: Device) -> None:
    """Find out whether a device is one to measure on, and has a core for every thread where it is this machine.

    Raises:
        DeviceError: it is not.
    """
    if not device.is_measurable:
        raise DeviceError(f"{device.name}: nothing can be measured on a device of unknown runtime; name another")
    require_cores(device)


def require_cores(device: Device) -> None:
    """Find out whether this machine has a core for every thread, unless the device is another one.

    Raises:
        DeviceError: it has not.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device.is_here and device.cores is None and device.threads > cores:
        raise DeviceError(
            f"{device.name}: expected at most {cores} threads, one for each core that this process may use, got "
            f"{device.threads}: give fewer --threads"
        )


def _parse(name: str, settings: object, path: Path) -> Device:
    if not isinstance(settings, dict):
        raise DeviceError(f"device {name!r} in {path} must be a mapping of settings, got {settings!r}")
    try:
        return TypeAdapter(Device).validate_json(json.dumps({**settings, "name": name}, default=str), strict=True)
    except ValidationError as error:
        fault, found = first_fault(error, whole="settings")
        raise DeviceError(f"device {name!r} in {path}: {fault}, got {found!r}") from error


def shipped_file() -> Path:
    """Return devices.yaml: beside this module in an installed wheel, at the top of the tree in a checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "devices.yaml"
    return inside if inside.exists() else here.parent / "devices.yaml"
