"""Models in a runtime's own format, written here by its converter and kept by what they were made of."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

from onnx_models.external_data import content_hash
from profilers.errors import ConversionError
from profilers.installed import install_command, installed_version, missing_packages
from profilers.programs import end_group
from profilers.quoting import printable
from profilers.runtime import Runtime
from safe_files import cached, sha256_of


def converted(model: Path, runtime: Runtime, *, arithmetic: str, timeout_s: float) -> Path:
    """Return an archive of what a runtime's converter makes of an ONNX file, made unless it is there as it was made.

    Raises:
        ConversionError: the converter cannot take the model, in its own words.
        WriteError: there is no room.
    """
    assert runtime.converter is not None
    made_of = ";".join(
        [content_hash(model), sha256_of(runtime.converter), arithmetic, *versions(runtime.converter_packages)]
    )
    name = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    path = user_cache_path("hwnas") / "converted" / f"{name}.zip"
    return cached(path, made_of, lambda draft: _archive(model, runtime, arithmetic, timeout_s, draft))


def convert(model: Path, folder: Path, runtime: Runtime, *, arithmetic: str, timeout_s: float) -> None:
    """Have a runtime's converter write its own format of an ONNX file into a folder.

    Raises:
        ConversionError: it cannot take the model, in its own words.
    """
    require_packages(runtime, runtime.converter_packages)
    command = [sys.executable, str(runtime.converter), str(model.resolve()), str(folder), arithmetic]
    code, said = _run(command, folder, timeout_s)
    if code != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        raise ConversionError(f"cannot be converted: {printable(lines[-1]) if lines and code > 0 else _end(code)}")
    if not any(folder.iterdir()):
        raise ConversionError("cannot be converted: the converter wrote nothing")


def _run(command: list[str], folder: Path, timeout_s: float) -> tuple[int, bytes]:
    """Return how a program ended, and what it said on standard error; whatever it started ends with it."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        start_new_session=True,
    ) as process:
        try:
            _, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"the converter did not end within {timeout_s:g} s") from None
        finally:
            end_group(process)
    return process.returncode, said


def require_packages(runtime: Runtime, packages: Mapping[str, str]) -> None:
    """Find out whether packages are installed here.

    Raises:
        ConversionError: one of them is not.
    """
    if missing := missing_packages(packages):
        raise ConversionError(f"{missing[0]} is not installed here: {install_command(runtime)}")


def versions(packages: Mapping[str, str]) -> list[str]:
    """Return names and versions of packages, for what is made with them."""
    return [f"{package}={installed_version(package)}" for package in packages.values()]


def _archive(model: Path, runtime: Runtime, arithmetic: str, timeout_s: float, draft: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        convert(model, Path(scratch), runtime, arithmetic=arithmetic, timeout_s=timeout_s)
        with zipfile.ZipFile(draft, "w") as archive:
            for file in sorted(Path(scratch).iterdir()):
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes())  # the same bytes at any time


def _end(code: int) -> str:
    if code >= 0:
        return f"the converter ended with exit code {code}"
    try:
        return f"the converter was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"the converter was killed by signal {-code}"
