"""Scores of untrained networks from one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from search_spaces import Architecture, SearchSpace

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Proxy = Callable[[nn.Module, torch.Tensor, torch.Tensor, Loss], float]

ZEN_STEP = 0.01
"""The distance that inputs are moved for `zen`, in standard deviations."""


class ZeroCost:
    """A proxy of a network's accuracy, each network initialised from the seed, kept once computed."""

    def __init__(
        self,
        space: SearchSpace,
        proxy: Proxy,
        x_NCHW: torch.Tensor,
        targets_N: torch.Tensor,
        *,
        loss: Loss,
        seed: int,
    ) -> None:
        self._space, self._proxy, self._loss, self._seed = space, proxy, loss, seed
        self._x_NCHW, self._targets_N = x_NCHW, targets_N
        self._known: dict[Architecture, float] = {}

    def score(self, architecture: Architecture) -> float:
        """Return the proxy's value."""
        form = self._space.canonical(architecture)
        if form not in self._known:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                network = self._space.build(form)
                self._known[form] = self._proxy(network, self._x_NCHW, self._targets_N, self._loss)
        return self._known[form]


def synflow(network: nn.Module, x_NCHW: torch.Tensor, _targets_N: torch.Tensor, _loss: Loss) -> float:
    """Logarithm of the synaptic flow with absolute weights and an input of ones (Tanaka et al. 2020)."""
    network.eval().double()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.abs_()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()  # type: ignore[union-attr]
            elif isinstance(module, nn.LayerNorm):  # its mean would end the flow; BatchNorm, fresh, passes it on too
                vars(module)["forward"] = partial(torch.mul, module.weight)
    network(torch.ones_like(x_NCHW[:1]).double()).sum().backward()
    total = sum((p * p.grad).sum().item() for p in network.parameters() if p.grad is not None)
    return math.log(max(total, 1e-300))


def gradient_norm(network: nn.Module, x_NCHW: torch.Tensor, targets_N: torch.Tensor, loss: Loss) -> float:
    """Norms of the gradients of each layer's weights at initialisation, added up (Abdelfattah et al. 2021).

    The norm of all together would be that of a few layers.
    """
    network.train()
    loss(network(x_NCHW), targets_N).backward()
    return sum(float(p.grad.norm()) for p in network.parameters() if p.grad is not None)


def naswot(network: nn.Module, x_NCHW: torch.Tensor, _targets_N: torch.Tensor, _loss: Loss) -> float:
    """Log determinant of how much images agree in the activations that they switch on (Mellor et al. 2021)."""
    network.train()
    num = len(x_NCHW)
    kernel_NN = torch.zeros(num, num, dtype=torch.float64)

    def count(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        on = (output.detach() > 0).flatten(1).double()
        kernel_NN.add_(on @ on.T + (1 - on) @ (1 - on).T)

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, ACTIVATIONS)]
    with torch.no_grad():
        network(x_NCHW)
    for handle in handles:
        handle.remove()
    return float(torch.linalg.slogdet(kernel_NN + 1e-3 * torch.eye(num))[1])


def zen(network: nn.Module, x_NCHW: torch.Tensor, _targets_N: torch.Tensor, _loss: Loss) -> float:
    """Expressivity: how outputs move with random inputs, and the scale that BatchNorm removes (Lin et al. 2021).

    As in the paper weights are standard normal, so that the scale grows with every layer's inputs.
    """
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight)
    scale = 0.0

    def add(module: nn.Module, inputs: tuple[torch.Tensor], _output: torch.Tensor) -> None:
        nonlocal scale
        scale += 0.5 * math.log(float(inputs[0].var(dim=(0, 2, 3)).mean()) + 1e-12)

    noise = torch.randn_like(x_NCHW)
    moved = noise + ZEN_STEP * torch.randn_like(x_NCHW)
    with torch.no_grad():
        before = network(noise)
        handles = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        after = network(moved)
    for handle in handles:
        handle.remove()
    return math.log(float((after - before).flatten(1).norm(dim=1).mean()) + 1e-12) + scale


ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.PReLU, nn.SiLU, nn.GELU)

PROXIES: dict[str, Proxy] = {"gradient-norm": gradient_norm, "naswot": naswot, "synflow": synflow, "zen": zen}
"""Proxies by name."""
