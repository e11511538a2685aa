"""A run's folder: opened by one process at a time, and what the run is begun with kept there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hwnas.config_file import config_as_yaml, differing_settings, load_config
from hwnas.errors import RequestError
from hwnas.pipeline.file_settings import file_of, fleet_tables, may_have_moved, with_absolute_paths
from hwnas.pipeline.inputs import Inputs, file_hashes, fingerprint_of, write_inputs
from hwnas.pipeline.origin import brings_table, take_over_inputs, take_over_supernet
from hwnas.pipeline.run import Run
from hwnas.run_folder import RunFolder
from hwnas.run_lock import alone_in
from hwnas.training.divergence import changeable_settings
from lut import TableError
from profilers import DeviceError
from safe_files import copy_whole, forget_all_drafts, write_text
from search_spaces import SpaceError
from search_spaces.traced.file import save_space
from search_spaces.traced.space import TracedSpace
from search_spaces.yaml_space import is_yaml_space

CHANGEABLE = {"trust.allow_unmeasured"}
"""Settings that may differ when a run goes on: what to do about a device that is gone shows when it is."""


@contextmanager
def opened(run: Run) -> Iterator[None]:
    """Make a run's folder, or check that it holds this very run; no other process may work in it meanwhile.

    What a process that was killed left unfinished in there is removed. Of a run that proved impossible nothing stays
    but a table that was made for it.

    Raises:
        RequestError: the folder cannot be written to, is in use, or holds a run of another configuration.
        WriteError: there is no room.
    """
    with alone_in(run.folder, run.files.lock, is_kept=lambda: run.has_begun or run.files.request.is_file()):
        forget_all_drafts(run.folder)
        require_same_settings(run)
        yield


def require_same_settings(run: Run) -> None:
    """Make sure that the folder's run has these settings, but for the pace of a training that diverged.

    Files and folders may have moved: what is in them tells whether they are the same.

    Raises:
        RequestError: others.
        LaterVersionError: a later version of hwnas wrote a record in the folder.
    """
    run.files.refuse_later_versions()
    path = run.files.request if run.is_resumed and not run.has_begun else run.files.config
    if not path.exists():
        return
    begun = with_absolute_paths(load_config(path, {}))
    differing = set(differing_settings(begun, run.config)) - changeable_settings(run.files.trainings) - CHANGEABLE
    if (inputs := run.inputs) is not None:
        moved = {name for name in differing if may_have_moved(begun, run.config, name)}
        differing -= moved
        # What is resumed has its own copies, whatever became of the files.
        named = moved if run.is_resumed else {*moved, "space.name", "lut", *fleet_tables(run.config)}
        inputs.require_same_files(run.config, named, run=run.folder)
    if differing:
        raise RequestError(
            f"{run.folder} holds a run with other settings ({', '.join(sorted(differing))}); "
            "give another --out, or --resume alone to continue that run"
        )


@contextmanager
def requested(run: Run) -> Iterator[None]:
    """Keep what a run asks for while its table is made, so that it can be resumed; what proves impossible is forgotten.

    A table that is given needs no such time.
    """
    if run.has_begun or run.source is not None or run.config.lut is not None:
        yield
        return
    if run.inputs is None:
        _forget_request(run.files)
        _keep_inputs(run)
        write_text(run.files.request, config_as_yaml(run.config))
    try:
        yield
    except (RequestError, SpaceError, TableError, DeviceError):
        _forget_request(run.files)
        raise


def _forget_request(files: RunFolder) -> None:
    """Remove what is kept of a request, the settings first: without them the rest is nothing."""
    for path in (files.request, files.inputs, files.space, files.network):
        path.unlink(missing_ok=True)
    files.fleet.forget()


def keep_settings(run: Run) -> None:
    """Write a run's settings down, once they have proved to be possible: from now on the folder is theirs.

    What they name is kept too, a table and a space, or what it is recognised by.
    """
    if run.source is not None and not run.has_begun:
        source, inputs = run.source
        table = run.config.lut if brings_table(source, run.config) else None
        fleet = [run.fleet_table_place(number) for number in range(len(run.config.fleet))]
        take_over_inputs(source, run.files, replace(inputs, device=run.device.name), table, fleet)
        taken = "the supernet and the table" if table is None else f"{table} and the supernet"
        run.reporter.line(f"{run.folder} begins with {taken} of {source.root}")
    elif run.inputs is None:
        _keep_inputs(run)
    write_text(run.files.config, config_as_yaml(run.config))
    run.files.request.unlink(missing_ok=True)
    if (origin := run.origin) is not None:
        source = RunFolder(Path(origin.run)) if run.source is None else run.source[0]
        take_over_supernet(source, run.files, sha256=origin.supernet_sha256)


def _keep_inputs(run: Run) -> None:
    """Keep what a run begins with besides its settings."""
    config, files = run.config, run.files
    if config.lut is not None:
        copy_whole(config.lut, files.table)
    for number, device in enumerate(config.fleet):
        files.fleet.folder.mkdir(exist_ok=True)
        copy_whole(device.lut, files.fleet.table(number))
    if (space := file_of(config.space.name)) is not None and is_yaml_space(space.name):
        copy_whole(space, files.space)
    if isinstance(run.space, TracedSpace):
        save_space(run.space, files.network)
    made = Inputs(
        space=run.spec.as_dict(),
        device=run.device.name,
        files=file_hashes(config),
        data=fingerprint_of(run.whole_dataset),
    )
    write_inputs(made, files.inputs)
