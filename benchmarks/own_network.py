"""What networks that nobody here wrote become: how much of each can be chosen, and whether its subnets are right.

Networks are constructors of a package, with random weights, or ONNX classifiers as they are. Each is traced and made a
search space. Of random subnets the built network, the slice of the supernet and the ONNX file are compared, and the
costs summed over blocks with those counted. Where torchvision's import needs help, a shim gives it: a file with a
function `import_torchvision`.

    python benchmarks/own_network.py --reach --shim torchvision_shim.py resnet18 vit_b_16
    python benchmarks/own_network.py --reach --package timm --input-size 96 ghostnet_100
    python benchmarks/own_network.py --reach --onnx classifier.onnx another.onnx
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import torch
from torch import nn

from hwnas.quantities import parse_image_size
from onnx_models.export import export_module
from onnx_models.image_size import height_width, image_size
from search_spaces.cost import block_cost, module_cost
from search_spaces.errors import SourceError, SpaceError
from search_spaces.space import SpaceSpec
from search_spaces.traced.overview import elastic_share
from search_spaces.traced.source import load_network
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.trace import trace

NAMES = (
    "resnet18 resnet50 mobilenet_v2 mobilenet_v3_small efficientnet_b0 shufflenet_v2_x1_0 mnasnet1_0 regnet_y_400mf "
    "squeezenet1_0 densenet121 googlenet vgg11_bn convnext_tiny vit_b_16 swin_t"
)
"""Constructors of torchvision that are tried where none are named."""

ENOUGH_ELASTIC = 0.6
CLOSE_ENOUGH = 1e-4
CLASSES = 1000

Shape = tuple[int, int, int]
"""Channels, height and width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """Findings on one network.

    Attributes:
        difference: largest between the original's outputs and the imported network's, relative to the outputs.
        worst: largest between built network, slice and ONNX file over the subnets, likewise.
    """

    name: str
    num_nodes: int
    num_decisions: int
    num_parts: int
    num_candidates: int
    share: float
    difference: float
    num_checked: int
    worst: float
    has_equal_costs: bool
    seconds: float
    reasons: Counter[str]

    @property
    def is_enough(self) -> bool:
        """Whether enough of it can be chosen and all subnets are right."""
        is_right = self.difference <= CLOSE_ENOUGH and self.worst <= CLOSE_ENOUGH and self.has_equal_costs
        return is_right and self.share >= ENOUGH_ELASTIC

    def line(self) -> str:
        """Return it as a row of the table."""
        return (
            f"| {self.name} | {self.num_nodes} | {self.num_decisions} | {self.num_parts} | {self.num_candidates} | "
            f"{self.share:.1%} | {self.difference:.0e} | {self.num_checked} | {self.worst:.0e} | "
            f"{'yes' if self.has_equal_costs else 'NO'} | {self.seconds:.0f} | {'yes' if self.is_enough else 'NO'} |"
        )


def main() -> None:
    """Print a line for each network, and why what stays fixed does."""
    options = _options()
    if options.path:
        sys.path.append(str(options.path))
    networks = _networks(options)
    at_least = options.at_least
    if at_least is None:
        at_least = max(1, len(networks) - 2 * (len(networks) >= 15))
    print("| network | nodes | decisions | parts | blocks | elastic MACs | import | subnets | worst | costs | s | ok |")
    print("| --- " * 12 + "|")
    num_enough = 0
    for name, make in networks.items():
        try:
            found = reach(name, *make(), options.subnets, options.seconds)
        except (SourceError, SpaceError) as error:
            print(f"| {name} | refused: {error} |", flush=True)
            continue
        except Exception as error:  # one network's failure is a line of the table
            print(f"| {name} | FAILED: {type(error).__name__}: {str(error)[:200]} |", flush=True)
            if options.verbose:
                traceback.print_exc()
            continue
        print(found.line(), flush=True)
        for reason, num in found.reasons.most_common():
            print(f"    stays {num} times: {reason}")
        num_enough += found.is_enough
    print(f"{num_enough} of {len(networks)} are right with at least {ENOUGH_ELASTIC:.0%} of their MACs elastic")
    sys.exit(0 if num_enough >= at_least else 1)


def reach(name: str, module: nn.Module, input_shape: Shape, num_subnets: int, most_seconds: float) -> Reached:
    """Return what becomes of a module.

    Args:
        most_seconds: no further subnet is begun after so many, but five are checked at least.
    """
    started = time.monotonic()
    network = trace(module, input_shape)
    images = torch.randn(3, *input_shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = module(images)
    channels, height, width = input_shape
    spec = SpaceSpec(
        name="own", input_size=image_size(height, width), in_channels=channels, num_classes=expected.shape[1]
    )
    space = TracedSpace(spec, network)
    supernet = space.supernet().eval()
    with torch.inference_mode():
        difference = relative_difference(expected, space.deployed(supernet.subnet(space.original))(images))
    rng = np.random.default_rng(0)
    worst, has_equal_costs, num_checked = 0.0, True, 0
    for position in range(num_subnets):
        if position >= 5 and time.monotonic() - started > most_seconds:
            break
        architecture = space.sample(rng)
        worst = max(worst, difference_of_forms(space, supernet, architecture, images))
        has_equal_costs &= costs_are_equal(space, architecture, images[:1])
        num_checked += 1
    return Reached(
        name=name,
        num_nodes=len(network.graph.nodes),
        num_decisions=len(space.decisions),
        num_parts=space.block_indices(space.as_array([space.original])).shape[1],
        num_candidates=len(space.candidates),
        share=elastic_share(space),
        difference=difference,
        num_checked=num_checked,
        worst=worst,
        has_equal_costs=has_equal_costs,
        seconds=time.monotonic() - started,
        reasons=Counter(space.reasons.values()),
    )


def difference_of_forms(
    space: TracedSpace, supernet: nn.Module, architecture: tuple[int, ...], images: torch.Tensor
) -> float:
    """Return the largest difference of the built network and of its ONNX file from the supernet's slice."""
    with torch.inference_mode():
        expected = supernet(images, architecture)
        network = space.build(architecture).eval()
        network[0].load_values(space.slice_of(architecture).values(supernet.network.values()))  # type: ignore[operator]
        built = network(images)
        deployed = space.deployed(network)
        given = deployed(images[:1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with redirect_stdout(StringIO()):  # where it fails the exporter prints the whole graph
            export_module(deployed, path, input_shapes=[(1, *images.shape[1:])])
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"input": images[:1].numpy()})
    one = relative_difference(expected, built)
    return max(one, relative_difference(given, torch.from_numpy(found)))


def costs_are_equal(space: TracedSpace, architecture: tuple[int, ...], image: torch.Tensor) -> bool:
    """Return whether the blocks' costs sum to those that are counted on the network."""
    counted = module_cost(space.build(architecture), image)
    costs = [block_cost(block) for block in space.blocks(architecture)]
    macs, params = sum(cost.macs for cost in costs), sum(cost.params for cost in costs)
    return (macs, params) == (counted.macs, counted.params)


def relative_difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-12))


@torch.no_grad()
def enliven(module: nn.Module, input_shape: Shape) -> None:
    """Give a fresh module weights that all count, in place: initial zeros and ones hide what goes wrong with them."""
    module.eval()
    for parameter in module.parameters():
        if parameter.numel() > 1 and float(parameter.min()) == float(parameter.max()):
            size = float(parameter.flatten()[0])
            parameter.uniform_(0.5, 1.5) if size == 1 else parameter.uniform_(0.05, 0.2)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = 1.0
    module(torch.randn(4, *input_shape))
    for norm in norms:
        norm.eval().momentum = 0.1


def _networks(options: argparse.Namespace) -> dict[str, Callable[[], tuple[nn.Module, Shape]]]:
    """Return what makes each network, and the shape of its images."""
    height, width = height_width(parse_image_size(options.input_size))
    if options.onnx:
        return {path.name: partial(_onnx_classifier, path, (height, width)) for path in options.onnx}
    make = _constructors(options.package, options.shim, height)

    def lively(name: str) -> tuple[nn.Module, Shape]:
        module, shape = make(name), (3, height, width)
        enliven(module, shape)
        return module, shape

    return {name: partial(lively, name) for name in options.names or NAMES.split()}


def _onnx_classifier(path: Path, size: tuple[int, int]) -> tuple[nn.Module, Shape]:
    """Return a classifier that a file holds, and the shape of its images, of that size where it leaves it free."""
    try:
        source = load_network(str(path))
    except SourceError:
        source = load_network(str(path), input_shape=(None, *size))
    assert source.input_shape is not None and len(source.input_shape) == 3
    channels, height, width = source.input_shape
    return source.module, (channels, height, width)


def _constructors(package: str, shim: Path | None, input_size: int) -> Callable[[str], nn.Module]:
    module = importlib.import_module(package) if shim is None else _imported_by(shim, package)
    if package == "timm":
        return lambda name: _timm_model(module, name, input_size)
    models = importlib.import_module(f"{package}.models")

    def make(name: str) -> nn.Module:
        # Truncated normal weights by scipy take half a minute; some networks are made for images of one size.
        keywords: dict[str, object] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        keywords |= {"image_size": input_size} if name.startswith("vit_") else {}
        keywords |= {"input_size": (input_size, input_size)} if name.startswith("maxvit_") else {}
        network: nn.Module = getattr(models, name)(**keywords).eval()
        return network

    return make


def _timm_model(module: ModuleType, name: str, input_size: int) -> nn.Module:
    try:
        network: nn.Module = module.create_model(name, num_classes=CLASSES, img_size=input_size)
    except TypeError:  # most take images of any size, and no such argument
        network = module.create_model(name, num_classes=CLASSES)
    return network.eval()


def _imported_by(shim: Path, package: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(shim.stem, shim)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.import_torchvision()
    return importlib.import_module(package)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="constructors; without them those of torchvision that users ask for")
    parser.add_argument(
        "--reach", action="store_true", required=True, help="what can be chosen, and whether it is right"
    )
    parser.add_argument("--package", default="torchvision", help="that has the constructors")
    parser.add_argument("--shim", type=Path, help="a file whose import_torchvision() imports what needs help")
    parser.add_argument("--path", type=Path, help="a folder that packages are imported from as well")
    parser.add_argument("--onnx", type=Path, nargs="+", help="ONNX classifiers instead of constructors")
    parser.add_argument("--input-size", default="224", help="pixels a side, or height and width as 48x192")
    parser.add_argument("--subnets", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300, help="for a network, before fewer subnets do")
    parser.add_argument("--at-least", type=int, help="networks that must be right for exit code 0")
    parser.add_argument("--verbose", action="store_true", help="say where a failure was")
    return parser.parse_args()


if __name__ == "__main__":
    main()
