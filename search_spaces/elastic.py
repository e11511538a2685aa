"""A weight-sharing network whose subnets are slices of the largest (Cai et al. 2020, Once-for-All)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import cast

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.blocks.layers import ACTIVATIONS, SqueezeExcite, conv_bn_act, init_weights, make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.mixconv import MIXED_KERNELS, MixConv
from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.space import SearchSpace
from search_spaces.supernet import Step, Supernet, with_weights


class ElasticBlock(nn.Module, ABC):
    """The weights of one layer's every block."""

    @abstractmethod
    def forward(self, x_NCHW: torch.Tensor, block: Block) -> torch.Tensor:
        """Return the output that the block computes with its slice of the weights."""

    @abstractmethod
    def cut(self, block: Block) -> nn.Module:
        """Return the block on its own with a copy of its slice of the weights."""

    def sort_channels(self) -> None:
        """Put the channels that matter most first, where smaller blocks keep the first ones; else nothing."""


class ElasticMBConv(ElasticBlock):
    """The weights of every `MBConv` that differs from the largest one in kernel and expansion only.

    A smaller kernel is the middle of the next larger one through a matrix that is learnt, one for all channels; a
    smaller expansion is the first of the expanded channels.

    Args:
        largest: largest kernel (7 at most) and largest expansion; without groups.
    """

    def __init__(self, largest: MBConv) -> None:
        super().__init__()
        self.largest = largest
        width = largest.in_channels * largest.expansion
        self.expand = conv_bn_act(largest.in_channels, width)
        self.depthwise = conv_bn_act(width, width, kernel=largest.kernel, stride=largest.stride, groups=width)
        self.gate = SqueezeExcite(width, make_divisible(width * largest.se_ratio)) if largest.se_ratio else None
        self.project = conv_bn_act(width, largest.out_channels)
        self.act = ACTIVATIONS[largest.act]()
        self.stochastic_depth = StochasticDepth() if largest.keeps_shape else None
        self.to_smaller = nn.ParameterDict(
            {str(kernel): nn.Parameter(torch.eye(kernel * kernel)) for kernel in range(3, largest.kernel, 2)}
        )
        init_weights(self)

    def forward(self, x_NCHW: torch.Tensor, block: Block) -> torch.Tensor:
        """Return the output that the block computes with its slice of the weights."""
        assert isinstance(block, MBConv)
        width = block.in_channels * block.expansion
        x = functional.conv2d(x_NCHW, _conv(self.expand).weight[:width])
        x = self.act(_norm(x, self.expand[1], slice(width)))
        kernel_C1HW = self._kernel(block.kernel, width)
        x = functional.conv2d(x, kernel_C1HW, stride=block.stride, padding=block.kernel // 2, groups=width)
        x = self.act(_norm(x, self.depthwise[1], slice(width)))
        if self.gate is not None:
            x = x * self._gates(x, block, width)
        x = functional.conv2d(x, _conv(self.project).weight[:, :width])
        x = _norm(x, self.project[1], slice(None))
        return x if self.stochastic_depth is None else x_NCHW + self.stochastic_depth(x)

    def cut(self, block: Block) -> nn.Module:
        """Return the block on its own with a copy of its slice of the weights."""
        assert isinstance(block, MBConv)
        width = block.in_channels * block.expansion
        state = {
            "body.0.0.weight": _conv(self.expand).weight[:width],
            **_norm_state("body.0.1", self.expand[1], slice(width)),
            "body.1.0.weight": self._kernel(block.kernel, width),
            **_norm_state("body.1.1", self.depthwise[1], slice(width)),
        }
        last = "body.2"
        if self.gate is not None:
            reduce, expand, squeezed = self._gate_convs(block, width)
            state |= {
                "body.2.gate.1.weight": reduce.weight[:squeezed, :width],
                "body.2.gate.1.bias": _bias(reduce)[:squeezed],
                "body.2.gate.3.weight": expand.weight[:width, :squeezed],
                "body.2.gate.3.bias": _bias(expand)[:width],
            }
            last = "body.3"
        state[f"{last}.0.weight"] = _conv(self.project).weight[:, :width]
        state |= _norm_state(f"{last}.1", self.project[1], slice(None))
        return with_weights(block, state)

    @torch.no_grad()
    def sort_channels(self) -> None:
        """Put the expanded channels that the projection weighs most first, so that smaller expansions keep those.

        The largest block computes the same before and after.
        """
        order = _conv(self.project).weight.abs().sum(dim=(0, 2, 3)).argsort(descending=True)
        _conv(self.project).weight.copy_(_conv(self.project).weight[:, order])
        for part in (self.expand, self.depthwise):
            _conv(part).weight.copy_(_conv(part).weight[order])
            norm = part[1]
            assert isinstance(norm, nn.BatchNorm2d)
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                tensor.copy_(tensor[order])
        if self.gate is not None:
            reduce, expand = self.gate.gate[1], self.gate.gate[3]
            assert isinstance(reduce, nn.Conv2d) and isinstance(expand, nn.Conv2d)
            reduce.weight.copy_(reduce.weight[:, order])
            expand.weight.copy_(expand.weight[order])
            _bias(expand).copy_(_bias(expand)[order])

    def _kernel(self, kernel: int, width: int) -> torch.Tensor:
        weight = _conv(self.depthwise).weight[:width]
        for smaller in range(self.largest.kernel - 2, kernel - 1, -2):
            middle = weight[:, :, 1:-1, 1:-1].flatten(2)
            weight = (middle @ self.to_smaller[str(smaller)]).reshape(width, 1, smaller, smaller)
        return weight

    def _gate_convs(self, block: MBConv, width: int) -> tuple[nn.Conv2d, nn.Conv2d, int]:
        assert self.gate is not None
        reduce, expand = self.gate.gate[1], self.gate.gate[3]
        assert isinstance(reduce, nn.Conv2d) and isinstance(expand, nn.Conv2d)
        return reduce, expand, make_divisible(width * block.se_ratio)

    def _gates(self, x_NCHW: torch.Tensor, block: MBConv, width: int) -> torch.Tensor:
        reduce, expand, squeezed = self._gate_convs(block, width)
        pooled = functional.adaptive_avg_pool2d(x_NCHW, 1)
        hidden = functional.relu(functional.conv2d(pooled, reduce.weight[:squeezed, :width], _bias(reduce)[:squeezed]))
        return functional.hardsigmoid(
            functional.conv2d(hidden, expand.weight[:width, :squeezed], _bias(expand)[:width])
        )


class ElasticMixConv(ElasticBlock):
    """The unified block of SGNAS: the weights of every `MixConv` of no more groups (Huang and Chu 2021).

    Each group of expanded channels has a kernel of each size; blocks of fewer groups use the first. The projection's
    BatchNorm is kept for each number of groups, since sums of fewer groups have other statistics.

    Args:
        largest: with the most groups.
    """

    def __init__(self, largest: MixConv) -> None:
        super().__init__()
        width = largest.in_channels * largest.expansion
        self.expand = conv_bn_act(largest.in_channels, width)
        self.depthwise = nn.ModuleDict(
            {
                str(kernel): conv_bn_act(width, width, kernel=kernel, stride=largest.stride, groups=width)
                for kernel in MIXED_KERNELS
            }
        )
        self.project = conv_bn_act(width, largest.out_channels, norm=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(largest.out_channels) for _ in range(largest.expansion))
        self.act = ACTIVATIONS[largest.act]()
        self.stochastic_depth = StochasticDepth() if largest.keeps_shape else None
        init_weights(self)

    def forward(self, x_NCHW: torch.Tensor, block: Block) -> torch.Tensor:
        """Return the output that the block computes with its slice of the weights."""
        assert isinstance(block, MixConv)
        width = block.in_channels * block.expansion
        x = functional.conv2d(x_NCHW, _conv(self.expand).weight[:width])
        x = self.act(_norm(x, self.expand[1], slice(width)))
        branches = []
        for kernel, channels in block.parts:
            weight_C1HW = _conv(self._part(kernel)).weight[channels]
            out = functional.conv2d(
                x[:, channels], weight_C1HW, stride=block.stride, padding=kernel // 2, groups=len(weight_C1HW)
            )
            branches.append(self.act(_norm(out, self._part(kernel)[1], channels)))
        x = functional.conv2d(torch.cat(branches, dim=1), _conv(self.project).weight[:, :width])
        x = cast(torch.Tensor, self.norms[block.expansion - 1](x))
        return x if self.stochastic_depth is None else x_NCHW + self.stochastic_depth(x)

    def cut(self, block: Block) -> nn.Module:
        """Return the block on its own with a copy of its slice of the weights."""
        assert isinstance(block, MixConv)
        width = block.in_channels * block.expansion
        state = {
            "expand.0.weight": _conv(self.expand).weight[:width],
            **_norm_state("expand.1", self.expand[1], slice(width)),
            "project.0.weight": _conv(self.project).weight[:, :width],
            **_norm_state("project.1", self.norms[block.expansion - 1], slice(None)),
        }
        for i, (kernel, channels) in enumerate(block.parts):
            state[f"branches.{i}.0.weight"] = _conv(self._part(kernel)).weight[channels]
            state |= _norm_state(f"branches.{i}.1", self._part(kernel)[1], channels)
        return with_weights(block, state)

    def _part(self, kernel: int) -> nn.Sequential:
        part = self.depthwise[str(kernel)]
        assert isinstance(part, nn.Sequential)
        return part


class ElasticSlices(ElasticBlock):
    """The weights of every block whose every weight is the leading part of the largest one's (Chen et al. 2021).

    For families whose modules compute with whatever part of their weights is put in, such as those on tokens.
    """

    def __init__(self, largest: Block) -> None:
        super().__init__()
        self.largest = largest.build()

    def forward(self, x: torch.Tensor, block: Block) -> torch.Tensor:
        """Return the output that the block computes with its slice of the weights."""
        out: torch.Tensor = functional_call(self.largest, self._slices(block), (x,))
        return out

    def cut(self, block: Block) -> nn.Module:
        """Return the block on its own with a copy of its slice of the weights."""
        return with_weights(block, self._slices(block))

    def _slices(self, block: Block) -> dict[str, torch.Tensor]:
        whole = dict(self.largest.named_parameters())
        return {name: whole[name][tuple(map(slice, shape))] for name, shape in _weight_shapes(block).items()}


@lru_cache(maxsize=4096)
def _weight_shapes(block: Block) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a block's weights by name."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in block.build().state_dict().items()}


def make_elastic(largest: Block) -> ElasticBlock:
    """Return the shared weights of a layer whose largest block that is."""
    if isinstance(largest, MBConv):
        return ElasticMBConv(largest)
    if isinstance(largest, MixConv):
        return ElasticMixConv(largest)
    return ElasticSlices(largest)


class ElasticSupernet(Supernet):
    """Fixed blocks with weights of their own around layers that are slices of their largest block.

    Args:
        space: tells which block stands in each slot of an architecture.
        slots: per slot of the space, the fixed block or the largest of the elastic ones.
        is_elastic: per slot, whether it is one of the elastic ones.
    """

    def __init__(self, space: SearchSpace, slots: Sequence[Block], is_elastic: Sequence[bool]) -> None:
        super().__init__()
        self._space = space
        self.slots = nn.ModuleList(
            make_elastic(block) if elastic else block.build() for block, elastic in zip(slots, is_elastic, strict=True)
        )

    def path(self, architecture: Architecture) -> list[nn.Module]:
        """Cut out of the supernet: elastic layers as copies of their slices, fixed blocks as they are."""
        return [
            nn.Identity() if block.is_identity else slot.cut(block) if isinstance(slot, ElasticBlock) else slot
            for slot, block in self._chosen(architecture)
        ]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        x = x_NCHW
        for step in self.steps(architecture):
            x = step(x)
        return x

    def steps(self, architecture: Architecture) -> list[Step]:
        """Return what the slots compute with their slices of the weights."""
        return [
            nn.Identity()
            if block.is_identity
            else partial(slot, block=block)
            if isinstance(slot, ElasticBlock)
            else slot
            for slot, block in self._chosen(architecture)
        ]

    def drop_end(self, num_slots: int) -> None:
        """Forget the weights of the last fixed blocks."""
        self.slots = self.slots[: len(self.slots) - num_slots]

    def sort_channels(self) -> None:
        """Put the channels that matter most first in every elastic layer; the largest network stays the same."""
        for slot in self.slots:
            if isinstance(slot, ElasticBlock):
                slot.sort_channels()

    def _chosen(self, architecture: Architecture) -> list[tuple[nn.Module, Block]]:
        return list(zip(self.slots, self._space.blocks(architecture)[: len(self.slots)], strict=True))


def _conv(part: nn.Sequential) -> nn.Conv2d:
    conv = part[0]
    assert isinstance(conv, nn.Conv2d)
    return conv


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    assert conv.bias is not None
    return conv.bias


def _norm(x_NCHW: torch.Tensor, norm: nn.Module, channels: slice) -> torch.Tensor:
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    return functional.batch_norm(
        x_NCHW,
        norm.running_mean[channels],
        norm.running_var[channels],
        norm.weight[channels],
        norm.bias[channels],
        training=norm.training,
        momentum=norm.momentum or 0.0,
        eps=norm.eps,
    )


def _norm_state(name: str, norm: nn.Module, channels: slice) -> dict[str, torch.Tensor]:
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    return {
        f"{name}.weight": norm.weight[channels],
        f"{name}.bias": norm.bias[channels],
        f"{name}.running_mean": norm.running_mean[channels],
        f"{name}.running_var": norm.running_var[channels],
        f"{name}.num_batches_tracked": torch.zeros((), dtype=torch.long),
    }
