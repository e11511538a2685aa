"""The wheel holds what the project promises, and works without the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"hwnas", "lut", "onnx_models", "profilers", "safe_files", "search_spaces"}


def _run(*command: object, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout; nothing is downloaded to build it."""
    for needed in ("build", "hatchling"):
        pytest.importorskip(needed, reason=f"building a wheel needs {needed}")
    folder = tmp_path_factory.mktemp("wheel")
    _run("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel alone is installed into."""
    if find_spec("pip") is None:
        pytest.skip("installing a wheel needs pip")
    folder = tmp_path_factory.mktemp("installed") / "site"
    _run("-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", folder, wheel, cwd=folder.parent)
    return folder


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops - {t for t in tops if t.endswith(".dist-info")} == PACKAGES
    sources = {str(p.relative_to(ROOT)) for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    templates = {str(p.relative_to(ROOT)) for p in (ROOT / "hwnas" / "templates").iterdir()}
    typed = {f"{package}/py.typed" for package in PACKAGES}
    styles = {str(p.relative_to(ROOT)) for p in (ROOT / "hwnas").rglob("*.css")}
    pages = {f"hwnas/{p.relative_to(ROOT)}" for p in (ROOT / "docs").rglob("*") if p.is_file()}
    assert sources | templates | styles | typed | pages | {"profilers/devices.yaml"} == {
        n for n in names if not n.split("/")[0].endswith(".dist-info")
    }


def test_the_pages_that_messages_name_are_in_the_wheel(wheel: Path) -> None:
    """Whatever the packages say: `hwnas docs PAGE`, or a file of docs."""
    archive = zipfile.ZipFile(wheel)
    named = set()
    for name in archive.namelist():
        if name.split("/")[0] in PACKAGES and not name.startswith("hwnas/docs/"):
            text = archive.read(name).decode("utf-8")
            named |= {f"hwnas/docs/{page}.md" for page in re.findall(r"hwnas docs ([a-z][\w-]*)", text)}
            named |= {f"hwnas/docs/{page}" for page in re.findall(r"\bdocs/([\w./-]+\.\w+)", text)}
    assert {"hwnas/docs/boards.md", "hwnas/docs/devices.md"} <= named <= {*archive.namelist()}


@pytest.mark.slow
def test_what_is_installed_works_without_the_checkout(site: Path, tmp_path: Path) -> None:
    alone = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    where = "import hwnas, lut, profilers, safe_files, search_spaces as s; print(hwnas.__file__, profilers.__file__)"
    assert _run("-c", where, cwd=tmp_path, environment=alone).count(f"{site}/") == 2
    command = site / "bin" / "hwnas"
    assert "Usage: hwnas" in _run(command, "--help", cwd=tmp_path, environment=alone)
    assert "nasbench-macro" in _run(command, "spaces", "--input-size", 32, cwd=tmp_path, environment=alone)
    assert "rpi4" in _run(command, "devices", cwd=tmp_path, environment=alone)
    assert f"{site}/profilers/devices.yaml" in _run(command, "devices", "--show", cwd=tmp_path, environment=alone)
    assert f"{site}/hwnas/docs" in _run(command, "docs", cwd=tmp_path, environment=alone).replace("\n", "")
    assert "# Boards and phones" in _run(command, "docs", "boards", cwd=tmp_path, environment=alone)


def test_tests_and_the_processes_that_they_start_use_the_checkout(tmp_path: Path) -> None:
    import hwnas

    found = _run("-c", "import hwnas, lut; print(hwnas.__file__); print(lut.__file__)", cwd=tmp_path).splitlines()
    assert [hwnas.__file__, *found] == [str(ROOT / package / "__init__.py") for package in ("hwnas", "hwnas", "lut")]


def test_installed_version_is_the_packages_own() -> None:
    import hwnas

    assert hwnas.__version__ == distribution("hwnas").version
