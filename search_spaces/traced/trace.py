"""From a module to a graph, by torch.export."""

from __future__ import annotations

import warnings
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from search_spaces.errors import SpaceError
from search_spaces.traced.graph import EXAMPLE_BATCH, TracedNetwork
from search_spaces.traced.inlined import inline_regions
from search_spaces.traced.network_check import require_fitting
from search_spaces.traced.operator_kinds import IN_FILES
from search_spaces.traced.program_reader import ProgramReader
from search_spaces.traced.quiet import quiet


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> TracedNetwork:
    """Return the graph of a module in evaluation mode, for batches of any size.

    Args:
        module: in evaluation mode; maps one tensor to one tensor.
        input_shape: of one image, without the batch.

    Raises:
        SpaceError: it cannot be traced, or is made for batches of one size.
    """
    program = _exported(module, input_shape)
    inline_regions(program)
    network = ProgramReader(program).network()
    _require_readable(type(module).__name__, network)
    return network


def _require_readable(name: str, network: TracedNetwork) -> None:
    """Raise SpaceError unless a file of the network, such as every run keeps, can be read back."""
    for node in network.graph.nodes:
        if node.kind not in IN_FILES:
            raise SpaceError(
                f"{name} calls the operator {node.kind} ({node.name}), which files of networks may not hold, as those "
                "that are random or do not check what they are given: write that layer of other operators of torch's"
            )
    try:
        require_fitting(network)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise SpaceError(
            f"{name} as it was traced could not be read from a file again: {reason}; write that layer of other "
            "operators of torch's"
        ) from error


def _exported(module: nn.Module, input_shape: tuple[int, ...]) -> ExportedProgram:
    images = torch.zeros(EXAMPLE_BATCH, *input_shape)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()), quiet(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (images,), dynamic_shapes=({0: Dim("batch")},))
            return program.run_decompositions({}) if _writes_into_views(program) else program
    except Exception as error:  # whatever the user's own code raises while it is traced
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SpaceError(
            f"{type(module).__name__} cannot be traced for images of {'x'.join(map(str, input_shape))}: expected a "
            f"network of one input whose course depends on no values, for any number of images; torch.export says: "
            f"{first[:300]}"
        ) from error


def _writes_into_views(program: ExportedProgram) -> bool:
    """Return whether an operator changes a part of another's output in place: then all such calls are made pure."""

    def is_call(node: object) -> bool:
        return isinstance(node, fx.Node) and isinstance(node.target, torch._ops.OpOverload)

    return any(
        is_call(node) and node.target._schema.is_mutable and is_call(node.args[0]) and _is_view(node.args[0].target)
        for node in program.graph.nodes
    )


def _is_view(target: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in target._schema.returns)
