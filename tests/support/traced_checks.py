"""What must hold of the space of any traced network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from onnx_models.export import export_module, input_names
from onnx_models.image_size import ImageSize, height_width, image_size
from search_spaces import Architecture, SpaceSpec
from search_spaces.cost import block_cost, module_cost
from search_spaces.resolutions import Resized
from search_spaces.traced.block import TracedBlock
from search_spaces.traced.graph import Graph, PerImage
from search_spaces.traced.ladder import Pins
from search_spaces.traced.resolutions import Resolution
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.supernet import TracedSupernet
from search_spaces.traced.trace import trace


def lively(module: nn.Module, input_shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    """Return the module in evaluation mode, with statistics and weights as training would leave them."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in module.modules():
            if (
                isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm)
                and layer.weight is not None
            ):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(std=0.2)
        module.train()(torch.randn(16, *input_shape))
    return module.eval()


def space_with_resolutions(module: nn.Module, input_shape: tuple[int, int, int], *sizes: ImageSize) -> TracedSpace:
    """Return the search space of a module that runs at other sizes of images too."""
    channels, height, width = input_shape
    spec = SpaceSpec(name="own", input_size=image_size(height, width), in_channels=channels, num_classes=5)
    resolutions = [Resolution(size=s, graph=trace(module, (channels, *height_width(s))).graph) for s in sizes]
    return TracedSpace(spec, trace(module, input_shape), resolutions=tuple(resolutions))


def space_of(module: nn.Module, input_shape: tuple[int, ...], pins: Pins | None = None) -> TracedSpace:
    """Return the search space of a module."""
    spec = SpaceSpec(name="own", input_size=16, num_classes=5)
    return TracedSpace(spec, trace(module, input_shape), pins or Pins())


def images_of(space: TracedSpace, num: int = 3, seed: int = 1) -> torch.Tensor:
    """Return random images."""
    shape = [size for size in space.network.graph.inputs[0][1] if not isinstance(size, PerImage)]
    return torch.randn(num, *shape, generator=torch.Generator().manual_seed(seed))


def images_for(space: TracedSpace, architecture: Architecture, num: int = 3) -> torch.Tensor:
    """Return random images at an architecture's resolution."""
    images = images_of(space, num)
    return Resized(space.input_size(architecture))(images) if space.resolutions.others else images


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return the largest difference over the largest value."""
    assert expected.shape == found.shape
    assert expected.isfinite().all()
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-6))


def drawn(space: TracedSpace, num: int, seed: int = 0) -> list[Architecture]:
    """Return the original, the network of all last choices, and random ones."""
    last = tuple(len(d.choices) - 1 for d in space.decisions)
    rng = np.random.default_rng(seed)
    return list(dict.fromkeys([space.original, last, *(space.sample(rng) for _ in range(num))]))


@torch.inference_mode()
def require_traced(module: nn.Module, space: TracedSpace) -> None:
    """The supernet's first choices are the module, for batches of any size."""
    supernet = space.supernet().eval()
    for batch in (1, 2, 5):
        images = images_of(space, batch)
        assert difference(module(images), supernet(images, space.original)) <= 1e-5


@torch.inference_mode()
def require_same_forms(
    space: TracedSpace, supernet: TracedSupernet, architecture: Architecture, folder: Path | None
) -> None:
    """Slice, subnet, built network with the slice's values, and the ONNX file in a folder compute the same."""
    images = images_for(space, architecture)
    expected = supernet(images, architecture)
    network = built(space, supernet, architecture)
    assert difference(expected, network(images)) <= 1e-4
    assert difference(expected, supernet.subnet(architecture)(images)) <= 1e-4
    if folder is not None:
        (found,) = onnx_outputs(network, folder, images[:1])
        assert difference(expected[:1], torch.from_numpy(found)) <= 1e-4


def built(space: TracedSpace, supernet: TracedSupernet, architecture: Architecture) -> nn.Sequential:
    """Return the network on its own with the supernet's values, in evaluation mode."""
    network = space.build(architecture)
    network[-1].load_values(space.slice_of(architecture).values(supernet.network.values()))  # type: ignore[operator]
    return network.eval()


def onnx_outputs(network: nn.Module, folder: Path, *inputs: torch.Tensor) -> list[np.ndarray]:
    """Return what the ONNX file of a network gives."""
    path = folder / "network.onnx"
    export_module(network, path, input_shapes=[tuple(x.shape) for x in inputs])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = input_names(len(inputs))
    return session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})


def require_equal_costs(space: TracedSpace, architecture: Architecture) -> None:
    """Costs summed over blocks are those counted on the network."""
    counted = module_cost(space.build(architecture), images_for(space, architecture, 1))
    costs = [block_cost(block) for block in space.blocks(architecture)]
    assert sum(cost.macs for cost in costs) == counted.macs
    assert sum(cost.params for cost in costs) == counted.params
    assert sum(cost.activations for cost in costs) == counted.activations


def require_filled(graph: Graph) -> None:
    """Nothing in a graph is empty."""
    shapes = [tensor.shape for tensor in graph.tensors] + [node.shape for node in graph.nodes if node.shape]
    for shape in shapes:
        assert all(size.times if isinstance(size, PerImage) else size for size in shape), shape


def require_promised(block: TracedBlock, folder: Path | None) -> None:
    """A block gives the shape that it says, and in ONNX what it gives in torch."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        inputs = [torch.randn(1, *shape) for shape in block.input_shapes]
        module = block.build().eval()
        expected = module(*inputs)
        assert tuple(expected.shape) == (1, *block.output_shape), block.key
        doubled = module(*(torch.cat([x, x]) for x in inputs))
        assert tuple(doubled.shape) == (2, *block.output_shape), block.key
        if folder is not None and not block.is_identity:
            (found,) = onnx_outputs(module, folder, *inputs)
            assert difference(expected, torch.from_numpy(found)) <= 1e-4, block.key
