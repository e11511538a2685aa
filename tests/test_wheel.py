"""What is installed is what the project promises."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"hwnas", "lut", "onnx_models", "profilers", "safe_files", "search_spaces"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops - {t for t in tops if t.endswith(".dist-info")} == PACKAGES
    sources = {str(p.relative_to(ROOT)) for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    templates = {str(p.relative_to(ROOT)) for p in (ROOT / "hwnas" / "templates").iterdir()}
    assert sources | templates | {"profilers/devices.yaml"} == {
        n for n in names if not n.split("/")[0].endswith(".dist-info")
    }


def test_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "import profilers, profilers.device as d\n"
        "assert profilers.__file__.startswith(sys.argv[1]), profilers.__file__\n"
        "print(sorted(d.load_devices()), d._shipped_file())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "'cpu'" in done.stdout and f"{tmp_path}/site/profilers/devices.yaml" in done.stdout


def test_installed_version_is_the_packages_own() -> None:
    import hwnas

    assert hwnas.__version__ == distribution("hwnas").version
