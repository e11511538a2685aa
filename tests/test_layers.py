"""Layers point one way, and importing has no effects that cost anything."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

from profilers.runtime import RUNTIMES

ALLOWED = {
    "safe_files": {"safe_files"},
    "onnx_models": {"onnx_models", "safe_files"},
    "search_spaces": {"search_spaces", "onnx_models", "safe_files"},
    "profilers": {"profilers", "onnx_models", "safe_files"},
    "lut": {"lut", "search_spaces", "profilers", "onnx_models", "safe_files"},
    "hwnas": {"hwnas", "lut", "search_spaces", "profilers", "onnx_models", "safe_files"},
}
ACYCLIC = ("safe_files", "onnx_models", "search_spaces", "profilers", "lut")
"""Packages among whose modules no import leads back to where it began."""

STANDALONE = {"worker_onnxruntime.py": {"numpy", "onnxruntime"}}


def _modules(package: str) -> list[Path]:
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return sorted(Path(spec.origin).parent.rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """Top-level names of everything a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_downwards(package: str) -> None:
    assert len(_modules(package)) > 3
    for path in _modules(package):
        upward = _imported(path) & set(ALLOWED) - ALLOWED[package]
        assert not upward, f"{path} imports {upward}"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_nothing_is_unpickled_and_no_shell_is_used(package: str) -> None:
    for path in _modules(package):
        text = path.read_text(encoding="utf-8")
        assert not _imported(path) & {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}, path
        for word in ("shell=True", "torch.load(", "yaml.load(", "os.system(", "eval(", "allow_pickle=True"):
            bare = text.replace(".eval(", "")
            assert word not in bare, f"{path}: {word}"


def test_only_one_module_exports_with_torch() -> None:
    users = [p for package in ALLOWED for p in _modules(package) if "torch.onnx" in p.read_text(encoding="utf-8")]
    assert [(path.parent.name, path.name) for path in users] == [("onnx_models", "export.py")]


def test_no_imports_go_in_circles() -> None:
    """Imports inside functions and those for types alone count: a reader follows them too."""
    graph = grimp.build_graph(*ACYCLIC)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert "profilers.session" in imports["profilers.profiler"]
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules


def test_nothing_asks_for_the_name_of_a_runtime() -> None:
    """What depends on the runtime reads its entry in `profilers/runtime.py`: a further one is an entry and a worker."""
    for package in ALLOWED:
        for path in _modules(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare):
                    compared = [node.left, *node.comparators]
                    names = {n.value for n in compared if isinstance(n, ast.Constant)} & RUNTIMES.keys()
                    assert not names, f"{path}:{node.lineno} compares something with {names}"


def test_standalone_workers_need_only_what_they_say() -> None:
    import sys

    for path in _modules("profilers"):
        if path.name in STANDALONE:
            assert _imported(path) - set(sys.stdlib_module_names) - {"__future__"} == STANDALONE[path.name]
