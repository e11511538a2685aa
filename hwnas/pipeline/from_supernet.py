"""A run that begins with the supernet and the table of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hwnas.config_file import load_config
from hwnas.pipeline.origin import brings_table, inputs_from, require_same_origin, without_own_table
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter


def run_from_supernet(source: Path, reporter: Reporter, overrides: Mapping[str, object]) -> Run:
    """Return a run that begins with the supernet and the table of another, and has other settings of the search.

    It has a folder of its own with copies of all that; where it has begun already it goes on.

    Args:
        source: the folder of the run whose supernet is trained.
        overrides: values by dotted name, `out` among them, that are laid over the settings of that run.

    Raises:
        RequestError: that run cannot serve, its supernet or table depends on a setting that differs, or the folder
            holds another run.
    """
    begun = Run.from_folder(source, reporter)
    given = without_own_table(begun.files, begun.config, overrides)
    run = Run(load_config(begun.files.config, given), reporter)
    if brings_table(begun.files, run.config) and "device" not in given:
        run.config = replace(run.config, device=None)  # another table may be of another device, which it names
    table = begun.given_table
    is_imported = table is not None and table.is_imported
    inputs = inputs_from(begun.files, begun.config, run.config, is_imported=is_imported)
    assert inputs.origin is not None
    if run.has_begun:
        require_same_origin(run.inputs, inputs.origin, run=run.files)
    run.source, run.is_resumed = (begun.files, inputs), True
    return run
