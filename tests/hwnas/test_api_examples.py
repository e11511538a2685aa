"""The examples of docs/api.md do what they say, one after the other; notebooks run from the first cell to the last."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import short_hwnas
from samples import synthetic_table

import hwnas
from lut import save_table
from search_spaces import SpaceSpec, make_space

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SIZES = {"EPOCHS": "1", "ROUNDS": "4", "NETWORKS": "12"}
"""What notebooks read, each telling so in its first cell."""

SHORTER = f"""
import sys
sys.path.append({str(Path(short_hwnas.__file__).parent)!r})
import short_hwnas
short_hwnas.shorten(own_tables=True)
"""
"""What the kernel of a notebook does first."""

DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)


def _blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.DOTALL | re.MULTILINE)


def _names_of_hwnas(code: str) -> set[str]:
    """Return the names that code takes from hwnas itself."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "hwnas"}


def _cells(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return cells


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_examples_and_notebooks_take_names_that_are_there() -> None:
    codes = [*_blocks(), *(_source(c) for path in NOTEBOOKS for c in _cells(path) if c["cell_type"] == "code")]
    assert len(codes) > 30
    used = {name for code in codes for name in _names_of_hwnas(code)}
    assert {"search", "profile", "optimize", "Study"} <= used <= set(hwnas.__all__)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs_and_say_how_they_are_shrunk(path: Path) -> None:
    cells = [c for c in _cells(path) if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    read = {name for c in cells for name in re.findall(r'os\.environ\.get\("(\w+)"', _source(c))}
    assert read <= set(SIZES) and (path.stem != "digits" or len(cells) <= 10)
    first = _source(cells[0])
    assert "The project's tests run this notebook with" in first and all(name in first for name in read)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("very_short_runs", "small_own_tables")
def test_examples_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), tmp_path / "digits.lut.json")
    names: dict[str, Any] = {}
    for block in _blocks():
        exec(compile(block, "docs/api.md", "exec"), names)
    assert names["smaller"].winner.onnx.is_file() and names["result"].winner.onnx.is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    if path.stem == "runtimes":
        pytest.importorskip("openvino")
    for name, value in SIZES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORTER))
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    assert not [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
