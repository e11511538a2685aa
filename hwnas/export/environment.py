"""What a bundle is made with: the state of the folder that the command runs in, and the versions of packages."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue


def git_state() -> dict[str, JsonValue] | None:
    """Return commit and cleanliness of the folder that the command runs in; None outside of git."""
    found = {}
    for name, command in (("commit", ["rev-parse", "HEAD"]), ("changes", ["status", "--porcelain"])):
        try:
            done = subprocess.run(["git", *command], capture_output=True, text=True, check=False, timeout=10)  # noqa: S607
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        found[name] = done.stdout.strip()
    return {"commit": found["commit"], "is_clean": not found["changes"]}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that make models; "unknown" of those that do not tell."""
    found = {"python": platform.python_version()}
    for name in ("hwnas", "numpy", "onnx", "onnxruntime", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
