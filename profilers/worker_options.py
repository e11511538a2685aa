"""Options that a worker is told when it is started, besides threads and cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from platformdirs import user_cache_path

from profilers.device import Device
from profilers.runtime import runtime_of
from profilers.tuning import tuning_folder

SESSION_TIMEOUT_S = 24 * 3600
"""After this long a board ends the session of a client that it lost, should this side die without a word."""

OPTIONS: Mapping[str, Callable[[Device], object]] = {
    "provider": lambda device: device.provider,
    "provider_options": lambda device: device.provider_options,
    "arithmetic": lambda device: device.arithmetic,
    "target": lambda device: device.target,
    "cross_compiler": lambda device: device.cross_compiler,
    "rpc": lambda device: None if device.rpc is None else asdict(device.rpc),
    "cache": lambda _: str(user_cache_path("hwnas") / "tvm"),
    "tuning": lambda device: None if device.tuning == "none" else str(tuning_folder(device)),
    "session_timeout_s": lambda _: SESSION_TIMEOUT_S,
}
"""Values by the names of options; a runtime lists the names that its worker takes."""


def worker_options(device: Device) -> dict[str, object]:
    """Return what the worker of a device's runtime takes."""
    return {name: OPTIONS[name](device) for name in runtime_of(device.runtime).options}
