"""hwnas runs where Linux's own modules and functions are missing, as on macOS, and says so where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from profilers import DeviceError
from profilers.connection import Connection
from profilers.programs import end_group
from safe_files.drafts import drafting, forget_drafts

OTHER_SYSTEM = Path(__file__).parent / "support" / "other_system"

IMPORT_ALL = """
import importlib, json, os, pkgutil, sys
import hwnas, lut, onnx_models, profilers, safe_files, search_spaces
missing, seen = {}, 0
for package in (safe_files, onnx_models, search_spaces, profilers, lut, hwnas):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            missing[found.name] = (error.name or "").split(".")[0]
        seen += 1
hidden = [name for name in ("resource", "fcntl", "grp", "termios") if name in sys.modules]
print(json.dumps([seen, missing, hidden, hasattr(os, "sched_setaffinity")]))
"""

OPTIONAL = {"tvm", "tvm_ffi", "openvino", "ncnn", "MNN", "_tools", "ray", "lightning_fabric", "datasets", "pnnx"}
"""Packages of extras, which a module may want where it is imported."""


def _elsewhere(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python where Linux's own modules and functions are hidden, from it and from what it starts."""
    path = os.pathsep.join([str(OTHER_SYSTEM), os.environ["PYTHONPATH"]])
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_all_modules_are_imported_without_what_linux_alone_has(tmp_path: Path) -> None:
    done = _elsewhere("-c", IMPORT_ALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seen, missing, hidden, can_pin = json.loads(done.stdout.splitlines()[-1])
    assert seen > 200 and not hidden and not can_pin
    assert set(missing.values()) <= OPTIONAL, missing


def test_a_table_is_measured_without_what_linux_alone_has(tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    space = ("--space", "nasbench-macro", "--input-size", 8, "--channels", 1, "--width", 0.25)
    done = _elsewhere("-m", "hwnas", "profile", *space, "--networks", 0, "--rounds", 2, "-o", table, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads(table.read_text(encoding="utf-8"))
    assert '"cores": null' in json.dumps(measured), "a worker that cannot pin itself says so"
    assert "17 blocks of nasbench-macro at 1x8x8, 10 classes, width 0.25, 0 failed" in done.stdout


def test_windows_is_told_that_nothing_can_be_measured_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(DeviceError, match="run hwnas in WSL 2"):
        Connection([sys.executable, "-c", ""])


def test_a_process_is_ended_where_there_are_no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "killpg")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        end_group(process)
        assert process.wait() != 0


def test_on_windows_no_process_is_asked_whether_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking is done by signal 0, which is Ctrl-C there."""
    with drafting(tmp_path / "a") as draft:
        name = draft.name
    left = tmp_path / name.replace(str(os.getpid()), "999999999")
    left.touch()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a process was sent a signal"))
    forget_drafts(tmp_path)
    assert left.exists(), "a draft of today may be somebody's"
    monkeypatch.undo()
    forget_drafts(tmp_path)
    assert not left.exists()
