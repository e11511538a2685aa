"""The runtimes that this machine can measure with, and how to install the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from profilers.runtime import RUNTIMES, Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledRuntime:
    """A built-in runtime, as it is on this machine.

    Attributes:
        version: None where something that it needs is missing, "unknown" where its package does not tell.
        remedy: the command that installs what is missing; empty where nothing is.
        precisions: of the models that it takes.
        arithmetics: what it can compute float models in.
    """

    name: str
    version: str | None
    remedy: str
    precisions: tuple[str, ...]
    arithmetics: tuple[str, ...]


def installed_runtimes() -> list[InstalledRuntime]:
    """Return all built-in runtimes."""
    return [_found(name, runtime) for name, runtime in RUNTIMES.items()]


def missing_packages(packages: Mapping[str, str]) -> list[str]:
    """Return what those packages are called on PyPI whose modules are not installed here."""
    return [package for module, package in packages.items() if find_spec(module) is None]


def installed_version(package: str) -> str | None:
    """Return the version of a package that is installed here; None where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def install_command(runtime: Runtime) -> str:
    """Return the command that installs what a runtime needs on this machine."""
    return f"pip install 'hwnas[{runtime.extra}]'" if runtime.extra else "pip install hwnas"


def _found(name: str, runtime: Runtime) -> InstalledRuntime:
    first = next(iter(runtime.packages.values()))
    missing = missing_packages({**runtime.packages, **({} if runtime.reads_onnx else runtime.converter_packages)})
    return InstalledRuntime(
        name=name,
        version=None if missing else installed_version(first) or "unknown",
        remedy=install_command(runtime) if missing else "",
        precisions=runtime.precisions,
        arithmetics=runtime.arithmetics,
    )
