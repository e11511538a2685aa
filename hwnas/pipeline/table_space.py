"""The search space that a latency table is of, found where the table alone is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hwnas.run_folder import RunFolder
from lut import LatencyTable
from search_spaces import SearchSpace, SpaceError, make_space
from search_spaces.registry import NETWORK_SUFFIX, SPACES


def space_of(table: LatencyTable, path: Path, given: str | None = None) -> SearchSpace:
    """Return the search space of a table: the one given, or that of its name, or of the network beside it.

    Args:
        path: the table's file.
        given: the space, as a command line names it.

    Raises:
        SpaceError: it is not there, or another than the table is of.
    """
    if given in SPACES and given != table.space.name:
        raise SpaceError(f"{path} is of {table.space.name}, --space is {given}: leave it out")
    name = given or table.space.name
    if given is None and table.space.network_hash is not None:
        beside = RunFolder(path.parent).network
        if not beside.is_file():
            raise SpaceError(
                f"{path} is of a network of somebody's own, {name}, and its file is not here: expected {beside}; give "
                "the file that hwnas convert -o wrote, or a run's network.safetensors, with --space"
            )
        name = str(beside)
    space = make_space(replace(table.space, name=name))
    if name.endswith(NETWORK_SUFFIX) and not space.spec.has_networks_of(table.space):
        raise SpaceError(f"{path} is of {table.space}, but {name} is {space.spec}: give the file of that with --space")
    space.spec = table.space
    return space
