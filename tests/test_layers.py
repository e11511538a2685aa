"""Layers point one way, and importing has no effects that cost anything."""

from __future__ import annotations

import ast
import re
from functools import cache
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
LAYERS = (
    "__main__ cli api scaffold device_file documentation",
    "ui",
    "pipeline",
    "report export.bundle export.mixed export.quantizing export.readme export.recommend export.request export.scoring",
    "stages front",
    "run_folder",
    "stage_files",
    "artifacts trust",
    "search",
    "evaluators",
    "training profiling table_request export",
    "agents config config_fleet config_training config_file flags recipes settings table_flag constraint surrogate "
    "measured",
    "dataflow criteria",
    "augmentation callbacks components loopback progress quantities records run_lock setting_types trackers",
    "errors",
)
"""The layers inside hwnas from the top down. A module imports from its own layer and from those below."""

KNOW_THE_RUN = {"api", "cli", "ui", "pipeline", "config", "config_file", "flags", "run_folder"}
"""Where a run's configuration and its folder are known; everything else is given what it uses by name."""

MAX_PARAMETERS = 8
"""Of a function. Flags are made from the fields of records, and so no command has more either."""

STANDALONE = {
    "worker_loop.py": {"numpy"},
    "worker_machine.py": {"numpy"},
    "worker_onnxruntime.py": {"numpy", "onnxruntime"},
    "worker_openvino.py": {"numpy", "openvino"},
    "converter_openvino.py": {"openvino"},
    "worker_ncnn.py": {"numpy", "ncnn"},
    "converter_ncnn.py": {"onnx"},
    "worker_mnn.py": {"numpy", "MNN"},
    "converter_mnn.py": {"onnx", "onnxruntime", "_tools"},
}


def _modules(package: str) -> list[Path]:
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return sorted(Path(spec.origin).parent.rglob("*.py"))


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """All parts of a module's syntax."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def _imported(path: Path) -> frozenset[str]:
    """Top-level names of everything a module imports, anywhere in it."""
    names: set[str] = set()
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module).split(".")[0])
    return frozenset(names)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_downwards(package: str) -> None:
    assert len(_modules(package)) > 3
    for path in _modules(package):
        upward = _imported(path) & set(ALLOWED) - ALLOWED[package]
        assert not upward, f"{path} imports {upward}"


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports between our modules, those inside functions and for types among them."""
    return grimp.build_graph(*ALLOWED, cache_dir=None)


def _layer(module: str) -> int:
    """Return the number of a module's layer, counted from the top; the longest name that fits decides."""
    ranks = {f"hwnas.{name}": number for number, names in enumerate(LAYERS) for name in names.split()}
    fitting = [name for name in ranks if module == name or module.startswith(f"{name}.")]
    assert fitting, f"{module} is in no layer: name one in LAYERS"
    return ranks[max(fitting, key=len)]


def test_imports_inside_hwnas_point_downwards(graph: grimp.ImportGraph) -> None:
    modules = [m for m in sorted(graph.modules) if m.startswith("hwnas.")]
    assert len(modules) > 100
    upward = [
        f"{module} imports {imported}"
        for module in modules
        for imported in sorted(graph.find_modules_directly_imported_by(module))
        if imported.startswith("hwnas.") and _layer(imported) < _layer(module)
    ]
    assert upward == []


def test_no_imports_go_in_circles(graph: grimp.ImportGraph) -> None:
    """Imports inside functions and those for types alone count: a reader follows them too."""
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert "profilers.session" in imports["profilers.profiler"]
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules


def test_only_the_pipeline_knows_the_configuration_and_the_folder() -> None:
    root = _modules("hwnas")[0].parent
    knowing = set()
    for path in _modules("hwnas"):
        names = {node.id for node in _nodes(path) if isinstance(node, ast.Name)}
        if names & {"Run", "RunConfig", "RunFolder", "run"}:
            knowing.add(path.relative_to(root).parts[0].removesuffix(".py"))
    assert knowing <= KNOW_THE_RUN and {"cli", "pipeline"} <= knowing


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_nothing_is_unpickled_and_no_shell_is_used(package: str) -> None:
    for path in _modules(package):
        text = path.read_text(encoding="utf-8")
        assert not _imported(path) & {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}, path
        for word in ("shell=True", "torch.load(", "yaml.load(", "os.system(", "eval(", "allow_pickle=True"):
            bare = re.sub(r"torch\.load\([^()]*weights_only=True\)", "", text.replace(".eval(", ""))
            assert word not in bare, f"{path}: {word}"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_function_has_many_parameters(package: str) -> None:
    functions = [
        (path, node)
        for path in _modules(package)
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    assert len(functions) > 20
    many = [
        f"{path}:{node.lineno} has {n}" for path, node in functions if (n := _num_parameters(node)) > MAX_PARAMETERS
    ]
    assert many == []


def _num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    taken = function.args
    rest = [taken.vararg, taken.kwarg]
    return len([*taken.posonlyargs, *taken.args, *taken.kwonlyargs, *(one for one in rest if one is not None)])


def test_only_one_module_exports_with_torch() -> None:
    users = [p for package in ALLOWED for p in _modules(package) if "torch.onnx" in p.read_text(encoding="utf-8")]
    assert [(path.parent.name, path.name) for path in users] == [("onnx_models", "export.py")]


def test_nothing_asks_for_the_name_of_a_runtime() -> None:
    """What depends on the runtime reads its entry in `profilers/runtime.py`: a further one is an entry and a worker."""
    for package in ALLOWED:
        for path in _modules(package):
            for node in _nodes(path):
                if isinstance(node, ast.Compare):
                    compared = [node.left, *node.comparators]
                    names = {n.value for n in compared if isinstance(n, ast.Constant)} & RUNTIMES.keys()
                    assert not names, f"{path}:{node.lineno} compares something with {names}"


def test_standalone_workers_need_only_what_they_say() -> None:
    import sys

    for path in _modules("profilers"):
        if path.name in STANDALONE:
            assert _imported(path) - set(sys.stdlib_module_names) - {"__future__"} == STANDALONE[path.name]
