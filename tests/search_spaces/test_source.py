"""Networks that people bring: what is taken, and what is said of what cannot be."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safe_files.code_trust import code_limited_to
from search_spaces.errors import SourceError, SpaceError
from search_spaces.traced.source import SourceNetwork, load_network
from search_spaces.traced.weights import fitting_names, unwrapped

CODE = """\
from pathlib import Path
import torch
from torch import nn
Path(__file__).with_name("ran").touch()

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.LazyLinear(5)).train()

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 5)).train()

def half(): return net().half()
def meta(): return net().to("meta")
def empty(): return nn.Flatten()
def none(): return None
def text() -> str: return "net"
def sized(width): return net()
def failing(): raise KeyError("mine")
def wrong(): return net().none
def broken():
    made = net()
    with torch.no_grad():
        made[5].weight[1, 2] = float("nan")
    return made

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5)
    def forward(self, x, *, scale=1.0): return self.layer(x) * scale

class Two(Net):
    def forward(self, x, mask): return self.layer(x) * mask

class Nothing(Net):
    def forward(self): return self.layer.weight

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
    def forward(self, x): return self.second(self.first(x))

number = 3
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of networks in the current folder; `ran` beside it tells that it was run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path / "net.py"


def _net() -> nn.Sequential:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4, 5)).eval()


def _is_usable(network: SourceNetwork) -> bool:
    tensors = [*network.module.parameters(), *network.module.buffers()]
    return not any(part.training for part in network.module.modules()) and all(
        tensor.dtype in (torch.float32, torch.int64) and tensor.device.type == "cpu" for tensor in tensors
    )


@pytest.mark.parametrize("function", ["net", "half", "Net", "Tied"])
def test_a_function_of_ones_own(function: str, code: Path) -> None:
    network = load_network(f"./net.py:{function}", input_shape=(3, 8, 12))
    assert network.name == function and network.input_shape == (3, 8, 12) and _is_usable(network)
    again = load_network(f"{code}:{function}")
    assert again.input_shape is None
    for one, other in zip(network.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)


BAD = {
    "./none.py:net": r"no file .*none\.py",
    "./net.py:missing": "net.py has no 'missing'",
    "./net.py:number": "expected a function without arguments that returns a torch.nn.Module; found a int",
    "./net.py:none": "it made a NoneType",
    "./net.py:text": "found a function that returns str",
    "./net.py:sized": "found one made from other arguments: width",
    "./net.py:wrong": r"making it failed: AttributeError.*line \d+",
    "./net.py:build": "the parameter 4.weight is lazy.*run the network once",
    "./net.py:meta": "the parameter 0.weight is on the meta device and has no numbers; make the network on the CPU",
    "./net.py:empty": "has no weights, expected one that can be trained",
    "./net.py:broken": r"1 of \d+ tensors hold NaN or infinity, such as 5.weight; expected numbers",
    "./net.py:Two": "forward takes x, mask, expected one tensor of images; wrap the network",
    "./net.py:Nothing": "forward takes nothing, expected one tensor",
    "./net.py": r"does not say which function makes the network: write \./net\.py:function",
    "net.txt": "names no network: expected ./file.py:function, a program of torch.export",
    "none.onnx": "cannot read none.onnx",
    "none.pt2": "cannot read none.pt2",
    "os:system": "standard library",
}


@pytest.mark.parametrize("reference", BAD)
def test_what_is_no_network_is_named(reference: str, code: Path) -> None:
    with pytest.raises(SourceError, match=BAD[reference]):
        load_network(reference)
    assert issubclass(SourceError, SpaceError)


def test_an_error_of_ones_own_code_stays_it(code: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        load_network("./net.py:failing")


def test_only_code_that_the_user_named_is_run(code: Path) -> None:
    with code_limited_to(["--model", "other.py:net"]), pytest.raises(SourceError, match="give --trust-code"):
        load_network("./net.py:net")
    assert not (code.parent / "ran").exists()
    with code_limited_to(["--model", "./net.py:net"]):
        load_network("./net.py:net")
    assert (code.parent / "ran").exists()


def test_a_shape_of_nothing_is_refused(code: Path) -> None:
    with pytest.raises(SourceError, match="an input of 3x0x8 is none"):
        load_network("./net.py:net", input_shape=(3, 0, 8))


# Weights


def _saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


WRAPPED: dict[str, Callable[[dict[str, Any]], object]] = {
    "alone": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state},
    "nested": lambda state: {"model": {"state_dict": state}},
    "parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {"state_dict": {f"module._orig_mod.{name}": t for name, t in state.items()}},
    "without counters": lambda state: {n: t for n, t in state.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_weights_of_torch(wrapper: str, code: Path, tmp_path: Path) -> None:
    state = _net().state_dict()
    path = _saved(WRAPPED[wrapper](state), tmp_path / "w.pth")
    network = load_network("./net.py:net", weights=path)
    own = network.module.state_dict()
    assert _is_usable(network) and all(torch.equal(own[name], tensor) for name, tensor in state.items())


def test_weights_of_safetensors(code: Path, tmp_path: Path) -> None:
    state = _net().state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    network = load_network("./net.py:net", weights=tmp_path / "w.safetensors")
    assert torch.equal(network.module.state_dict()["5.weight"], state["5.weight"])
    tied = load_network("./net.py:Tied").module
    safetensors.torch.save_model(tied, str(tmp_path / "t.safetensors"))  # keeps shared weights once
    assert load_network("./net.py:Tied", weights=tmp_path / "t.safetensors").name == "Tied"


def test_weights_of_another_network_are_told_apart(code: Path, tmp_path: Path) -> None:
    state = dict(_net().state_dict())
    state["5.weight"], state["5.bias"] = torch.rand(10, 4), torch.rand(10)
    del state["0.bias"]
    state["6.weight"] = torch.rand(1)
    with pytest.raises(SourceError) as caught:
        load_network("./net.py:net", weights=_saved(state, tmp_path / "w.pth"))
    message = str(caught.value)
    assert "1 of 9 tensors are missing, first 0.bias" in message
    assert "1 of 9 are not expected, first 6.weight" in message
    assert "2 have another shape, first 5.weight: 10x4 in the file, expected 5x4" in message
    assert message.endswith("give the weights that belong to it")


class Harm:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_weights_that_are_none(code: Path, tmp_path: Path) -> None:
    broken = _net().state_dict()
    broken["1.running_var"][0] = torch.inf
    cases = {
        "missing.pth": (None, "cannot read .*missing.pth"),
        "net.pth": (_net(), "no weights that can be read without running code: .*save the network's state_dict"),
        "harm.pth": ({"0.weight": Harm(tmp_path / "harmed")}, "without running code"),
        "list.pth": ([1, 2], "holds a list, expected a state dict"),
        "words.pth": ({"epoch": 3, "best": 0.5}, "holds a mapping of 'epoch', 'best', expected a state dict"),
        "empty.pth": ({}, "expected a state dict"),
        "inf.pth": (broken, "1 of 9 tensors hold NaN or infinity, such as 1.running_var"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            torch.save(content, tmp_path / name)
        with pytest.raises(SourceError, match=message):
            load_network("./net.py:net", weights=tmp_path / name)
    assert not (tmp_path / "harmed").exists()
    (tmp_path / "text.safetensors").write_text("none")
    with pytest.raises(SourceError, match="no safetensors file that can be read"):
        load_network("./net.py:net", weights=tmp_path / "text.safetensors")


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".pth", ".safetensors"]))
def test_any_bytes_are_refused(content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "net.py").write_text(CODE)
    (folder / f"w{suffix}").write_bytes(content)
    with pytest.raises(SourceError):
        load_network(f"{folder}/net.py:net", weights=folder / f"w{suffix}")


@given(
    names=st.lists(st.sampled_from(["a.weight", "b", "module.c", "net.d.bias"]), min_size=1, unique=True),
    prefixes=st.lists(st.sampled_from(["module.", "model.", "_orig_mod."]), max_size=3),
    wrappers=st.lists(st.sampled_from(["state_dict", "model"]), max_size=3),
)
def test_wrappers_come_off(names: list[str], prefixes: list[str], wrappers: list[str]) -> None:
    wanted = {name: torch.zeros(1) for name in names}
    state: Any = {"".join(prefixes) + name: tensor for name, tensor in wanted.items()}
    for wrapper in wrappers:
        state = {wrapper: state, "epoch": 1}
    found = unwrapped(state)
    assert found is not None
    if not any(name.startswith(("module.", "net.")) for name in names):
        assert fitting_names(found, wanted).keys() == wanted.keys()


# Programs of torch.export


def _program(net: nn.Module, path: Path, *, is_dynamic: bool = True, inputs: int = 1) -> Path:
    x = tuple(torch.rand(2, 3, 8, 8) for _ in range(inputs))
    shapes = tuple({0: torch.export.Dim("batch")} for _ in x) if is_dynamic else None
    torch.export.save(torch.export.export(net, x, dynamic_shapes=shapes), path)
    return path


def test_a_program(tmp_path: Path) -> None:
    net = _net()
    path = _program(net, tmp_path / "mine.pt2")
    network = load_network(str(path))
    assert network.name == "mine" and network.input_shape == (3, 8, 8) and _is_usable(network)
    x = torch.rand(5, 3, 8, 8)
    assert torch.equal(network.module(x), net(x)) and network.module.state_dict().keys() == net.state_dict().keys()
    again = torch.export.export(network.module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(again.module()(x[:2]), net(x[:2]))
    other = _net()
    loaded = load_network(str(path), weights=_saved(other.state_dict(), tmp_path / "w.pth"), input_shape=(3, 8, 8))
    assert torch.equal(loaded.module(x), other(x))


def test_programs_that_do_not_serve(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.net(x + y)

    cases: list[tuple[Path, str]] = [
        (_program(_net(), tmp_path / "fixed.pt2", is_dynamic=False), "takes 2 images at a time, expected any.*Dim"),
        (_program(_net().train(), tmp_path / "training.pt2"), "exported while training: batch_norm"),
        (_program(Two(), tmp_path / "two.pt2", inputs=2), "has 2 inputs and 1 outputs, expected one"),
    ]
    for path, message in cases:
        with pytest.raises(SourceError, match=message):
            load_network(str(path))
    path = _program(_net(), tmp_path / "mine.pt2")
    with pytest.raises(SourceError, match="takes images of 3x8x8, found 3x9x9"):
        load_network(str(path), input_shape=(3, 9, 9))
    (tmp_path / "text.pt2").write_text("none")
    with pytest.raises(SourceError, match=r"is no program of torch\.export"):
        load_network(str(tmp_path / "text.pt2"))
    torch.save(_net().state_dict(), tmp_path / "state.pt2")
    with pytest.raises(SourceError, match=r"it has no models/model\.json; save it again"):
        load_network(str(tmp_path / "state.pt2"))


Changed = Callable[[str, bytes], bytes]


def _changed(path: Path, change: Changed) -> Path:
    """Return a copy of an archive whose entries went through a function of name and content."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for entry in archive.infolist():
            copy.writestr(entry.filename, change(entry.filename.partition("/")[2], archive.read(entry)))
    return target


def _in_graph(old: str, new: str) -> Changed:
    def change(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        text = content.decode()
        assert old in text
        return text.replace(old, new).encode()

    return change


def test_nothing_in_a_program_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _program(_net(), tmp_path / "mine.pt2")
    trace = tmp_path / "harmed"
    harm = f"__import__('pathlib').Path('{trace}').touch()"
    symbol = re.search(r"Symbol\('s\d+'[^\"]*\)", _graph_of(path))
    assert symbol is not None
    pickled = pickle.dumps(Harm(trace))
    loads: list[object] = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loads.append(a) or real(*a, **k))

    def with_pickle(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            config = json.loads(content)
            config["config"]["0.weight"]["use_pickle"] = True
            return json.dumps(config).encode()
        return pickled if name.endswith("weight_0") else content

    cases: dict[str, tuple[Changed, str]] = {
        "a size": (_in_graph(symbol[0], harm), "stands where torch.export writes a name or a size"),
        "a name": (_in_graph('"forward_arg_names": ["input"]', f'"forward_arg_names": ["x={harm}"]'), "stands where"),
        "a function": (_in_graph("torch.ops.aten.flatten.using_ints", "torch.hub.load"), "calls 'torch.hub.load'"),
        "a file": (_in_graph("torch.ops.aten.flatten.using_ints", "torch.ops.aten.from_file.default"), "'filename'"),
        "indices": (
            _in_graph("torch.ops.aten.flatten.using_ints", "torch.ops.aten._sparse_coo_tensor_unsafe.default"),
            "not among the operators that a file may call",
        ),
        "strides": (_in_graph("torch.ops.aten.flatten.using_ints", "torch.ops.aten.as_strided_.default"), "not among"),
        "memory": (
            _in_graph("torch.ops.aten.flatten.using_ints", "torch.ops.aten.relu.out"),
            "not among the operators",
        ),
        "a layout": (_in_graph('"layout": 7', '"layout": 1'), "a tensor of layout 1"),
        "weights": (with_pickle, "0.weight is pickled, which may run code"),
    }
    for change, message in cases.values():
        with pytest.raises(SourceError, match=message):
            load_network(str(_changed(path, change)))
    examples = _changed(path, lambda name, content: pickled if name.endswith("inputs/model.pt") else content)
    assert load_network(str(examples)).input_shape == (3, 8, 8)
    guarded = _changed(path, _in_graph('"guards_code": []', f'"guards_code": ["{harm}"]'))
    assert load_network(str(guarded)).input_shape == (3, 8, 8)
    assert not trace.exists() and not loads


def _graph_of(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        return archive.read(name).decode()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program's bytes."""
    return _program(_net(), tmp_path_factory.mktemp("program") / "mine.pt2").read_bytes()


@given(data=st.data())
def test_damaged_programs_are_refused(
    data: st.DataObject, program: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(program)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path = tmp_path_factory.mktemp("damaged") / "mine.pt2"
    path.write_bytes(content)
    try:
        network = load_network(str(path))
    except SourceError:
        return
    assert isinstance(network.module, nn.Module)


@given(data=st.data())
@settings(max_examples=30)
def test_graphs_of_other_values_are_refused(
    data: st.DataObject, program: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One value somewhere in the description of the graph is another."""
    path = tmp_path_factory.mktemp("changed") / "mine.pt2"
    path.write_bytes(program)
    graph = json.loads(_graph_of(path))
    place: Any = graph
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], (dict, list)) and place[key]):
            break
        place = place[key]
    place[key] = data.draw(st.one_of(st.none(), st.booleans(), st.integers(-3, 300), st.text(max_size=8), st.just([])))
    changed = _changed(path, lambda name, old: json.dumps(graph).encode() if name == "models/model.json" else old)
    try:
        network = load_network(str(changed))
    except SourceError:
        return
    assert isinstance(network.module, nn.Module)


# ONNX files


@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file(tmp_path: Path) -> None:
    net, path = _net(), tmp_path / "mine.onnx"
    torch.onnx.export(net, (torch.rand(1, 3, 8, 8),), path, dynamo=False, opset_version=17)
    network = load_network(str(path))
    assert network.name == "mine" and network.input_shape == (3, 8, 8) and _is_usable(network)
    x = torch.rand(4, 3, 8, 8)
    assert torch.allclose(network.module(x), net(x), atol=1e-6)
    with pytest.raises(SourceError, match="takes images of 3x8x8, expected 3x9x9"):
        load_network(str(path), input_shape=(3, 9, 9))
    (tmp_path / "text.onnx").write_text("none")
    with pytest.raises(SourceError, match="is no valid ONNX model"):
        load_network(str(tmp_path / "text.onnx"))


def test_pipes_are_not_waited_for(code: Path, tmp_path: Path) -> None:
    import os

    for name in ("w.pth", "w.safetensors", "m.pt2", "m.onnx"):
        os.mkfifo(tmp_path / name)
    for name in ("w.pth", "w.safetensors"):
        with pytest.raises(SourceError, match="expected a regular file"):
            load_network("./net.py:net", weights=tmp_path / name)
    for name in ("m.pt2", "m.onnx"):
        with pytest.raises(SourceError, match="expected a regular file"):
            load_network(name)


def test_an_archive_holds_nothing_twice(tmp_path: Path) -> None:
    path = _program(_net(), tmp_path / "mine.pt2")
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("mine/models/model.json", "{}")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(SourceError, match=r"models/model\.json is there twice"):
        load_network(str(path))
