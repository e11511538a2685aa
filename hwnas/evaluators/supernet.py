"""Scores of subnets with the supernet's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwnas.agents import TrainingAgent
from hwnas.dataflow import Batches
from hwnas.evaluators.score import Score, stopped_early
from hwnas.evaluators.shared import ReadOnly
from search_spaces import Architecture
from search_spaces.supernet import Supernet

MAX_CHUNKS = 32
"""The number of chunks of the validation images, about; at each of them the evaluation of a subnet may stop."""

CHUNK_DIGITS = 6

MOST_OUTPUT_BYTES = 2**30
"""Bytes of the outputs for all validation images, up to which they are kept for the score of them all."""


class SupernetEvaluator:
    """Scores architectures on held-out images, each with BatchNorm statistics of its own.

    The statistics a supernet gathers mix all paths; each subnet is given fresh ones from a few training batches before
    it is evaluated (Guo et al. 2020, section 3.3; Yu and Huang 2019). A score depends on the weights alone, not on what
    was evaluated before, and the supernet stays as it is.

    Args:
        calibration: x_NCHW batches of training images.
        validation: x_NCHW and targets_N batches that the supernet never trained on.
    """

    def __init__(
        self,
        supernet: Supernet,
        agent: TrainingAgent,
        *,
        calibration: Sequence[torch.Tensor],
        validation: Sequence[tuple[torch.Tensor, torch.Tensor]],
    ) -> None:
        self._supernet = supernet
        self._agent = agent
        self._calibration = calibration
        self._validation = validation

    def __getstate__(self) -> dict[str, object]:
        """Return the attributes, with images that the actors of a node need not copy: they are only read."""
        return self.__dict__ | {
            "_calibration": [ReadOnly(x_NCHW) for x_NCHW in self._calibration],
            "_validation": [(ReadOnly(x_NCHW), ReadOnly(targets_N)) for x_NCHW, targets_N in self._validation],
        }

    def score(self, architecture: Architecture) -> float:
        """Return the metric that the agent ranks subnets by, on the validation batches."""
        return self._agent.search_score(self._recalibrated(architecture), self._validation)

    def evaluate(self, architecture: Architecture, baseline: Score | None) -> Score:
        """Return the same, or an estimate as soon as the subnet is certain not to reach its baseline.

        Only where the metric of some images estimates that of all (`scores_images_alone`), and where the outputs for
        all images fit in memory: those of every pixel often do not.
        """
        subnet = self._recalibrated(architecture)
        if not self._agent.scores_images_alone or self._output_bytes(subnet) > MOST_OUTPUT_BYTES:
            return Score(value=self._agent.search_score(subnet, self._validation))
        outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        chunks: tuple[float, ...] = ()
        size = max(1, len(self._validation) // MAX_CHUNKS)
        for start in range(0, len(self._validation), size):
            with torch.inference_mode():
                chunk = [(subnet(x_NCHW), targets_N) for x_NCHW, targets_N in self._validation[start : start + size]]
            outputs += chunk
            chunks += (round(self._agent.search_score(_as_it_is, chunk), CHUNK_DIGITS),)
            if baseline and (score := stopped_early(chunks, baseline)):
                return score
        return Score(value=self._agent.search_score(_as_it_is, outputs), chunks=chunks)

    def metrics(self, architecture: Architecture) -> Mapping[str, float]:
        """All of the agent's metrics of the subnet."""
        return self._agent.metrics(self._recalibrated(architecture), self._validation)

    def _output_bytes(self, subnet: nn.Module) -> int:
        """Return the bytes of a subnet's outputs for all validation images."""
        with torch.inference_mode():
            of_one = subnet(self._validation[0][0][:1]).nbytes
        return int(of_one) * sum(len(x_NCHW) for x_NCHW, _ in self._validation)

    def _recalibrated(self, architecture: Architecture) -> nn.Module:
        subnet = self._supernet.subnet(architecture)
        recalibrate(subnet, self._calibration)
        return subnet


def _as_it_is(outputs: torch.Tensor) -> torch.Tensor:
    return outputs


def recalibrate(network: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    """Replace a network's BatchNorm statistics by those of the batches; leaves it in evaluation mode."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
        norm.train()
    with torch.no_grad():
        for x_NCHW in batches:
            network(x_NCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def calibration_batches(batches: Batches, num: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Return the first `num` shuffled batches, at most an epoch's."""
    return [x_NCHW for x_NCHW, _ in islice(batches.shuffled(generator), num)]
