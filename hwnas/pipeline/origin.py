"""Runs that begin with the supernet, the table and the inputs of another: nothing of it is needed afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.config import RunConfig
from hwnas.config_file import differing_settings
from hwnas.errors import RequestError
from hwnas.pipeline.file_settings import fleet_tables, is_fleet_table, may_have_moved, setting_of
from hwnas.pipeline.inputs import Inputs, Origin, file_hashes, read_inputs, write_inputs
from hwnas.run_folder import RunFolder
from hwnas.training.trainer import epochs_of
from safe_files import copy_whole, sha256_of

FREE = ("max_latency", "budgets", "percentile", "max_params", "max_macs", "max_memory", "max_energy", "seed")
FREE_GROUPS = ("search.", "retrain.", "trust.", "fleet")
"""Settings that neither the supernet nor the table depends on, and beginnings of the names of further ones."""

FREE_WITH_AN_IMPORTED_TABLE = ("device", "devices")
"""A published table was made on none of one's own devices: any may be named to measure on."""

OF_THE_TABLE = ("lut", "device", "devices", "precision")
"""Settings that the supernet does not depend on, but the table: another table may be given, of another device."""


def inputs_from(source: RunFolder, begun: RunConfig, now: RunConfig, *, is_imported: bool) -> Inputs:
    """Return the inputs of a run that begins with what another has made.

    Args:
        begun: the settings of that run.
        now: those of the run that begins.
        is_imported: whether the table was published.

    Raises:
        RequestError: that run cannot serve, or a setting differs that its supernet or its table depends on.
    """
    inputs = _usable_inputs(source, begun)
    if source.root.resolve() == now.out.resolve():
        raise RequestError(f"--from and --out are the same run, {source.root}: give a new folder with --out")
    differing = differing_settings(begun, now)
    free = (*FREE, *(FREE_WITH_AN_IMPORTED_TABLE if is_imported else ()))
    moved = [name for name in differing if may_have_moved(begun, now, name) and not is_fleet_table(name)]
    if brings_table(source, now):
        free = (*free, *OF_THE_TABLE)
        moved = [name for name in moved if name not in OF_THE_TABLE]
    inputs.require_same_files(now, moved, run=source.root)
    for name in differing:
        if name not in moved and name not in free and not name.startswith(FREE_GROUPS):
            there, here = (setting_of(settings, name) for settings in (begun, now))
            expected = "none, as there" if there is None else f"{there} as there"
            raise RequestError(
                f"the supernet and the table of {source.root} depend on {name}: expected {expected}, got "
                f"{'none' if here is None else here}; leave it out, or search without --from"
            )
    origin = Origin(
        run=str(source.root.absolute()),
        supernet_sha256=sha256_of(source.supernet),
        images_seed=begun.seed if inputs.origin is None else inputs.origin.images_seed,
    )
    gone = [name for name in inputs.files if is_fleet_table(name) and name not in fleet_tables(now)]
    kept = {
        name: digest
        for name, digest in inputs.files.items()
        if name not in gone and (name not in differing or name in moved)
    }
    return replace(inputs, files={**file_hashes(now), **kept}, origin=origin)


def brings_table(source: RunFolder, now: RunConfig) -> bool:
    """Return whether settings name another table than that of the run whose supernet they begin with."""
    if now.lut is None or not now.lut.is_file():
        return False
    return not source.table.is_file() or sha256_of(source.table) != sha256_of(now.lut)


def _usable_inputs(source: RunFolder, begun: RunConfig) -> Inputs:
    """Return the inputs of a run whose supernet is finished."""
    num = len(epochs_of(source.supernet)) if source.supernet.exists() else 0
    if not source.supernet.exists() or num < begun.supernet.epochs:
        raise RequestError(
            f"{source.root} has no finished supernet: expected {begun.supernet.epochs} epochs, found {num}; finish it "
            f"with hwnas train --resume --out {source.root}, or name a run that trained one"
        )
    inputs = read_inputs(source.inputs)
    if inputs is None:
        raise RequestError(
            f"{source.root} was begun by an earlier version, which did not write down what it began with; "
            f"hwnas retrain {source.root} does, and then it can be begun from"
        )
    return inputs


def without_own_table(source: RunFolder, begun: RunConfig, overrides: Mapping[str, object]) -> dict[str, object]:
    """Return settings without a table that is the one which the run made for itself: the new one takes it anyway."""
    lut = overrides.get("lut")
    is_own = (
        begun.lut is None
        and isinstance(lut, str | Path)
        and all(path.is_file() for path in (source.table, Path(lut)))
        and sha256_of(source.table) == sha256_of(Path(lut))
    )
    return {name: value for name, value in overrides.items() if not (is_own and name == "lut")}


def require_same_origin(inputs: Inputs | None, expected: Origin, *, run: RunFolder) -> None:
    """Raise RequestError unless a run that has begun did so with the supernet that is named now."""
    found = None if inputs is None else inputs.origin
    if found is None or found.supernet_sha256 != expected.supernet_sha256:
        raise RequestError(
            f"{run.root} holds a run that did not begin with the supernet of {expected.run}; give another --out, "
            "or --resume alone to continue that run"
        )


def take_over_inputs(
    source: RunFolder, target: RunFolder, inputs: Inputs, table: Path | None = None, fleet: Sequence[Path] = ()
) -> None:
    """Copy what a run begins with from another's folder, but for the supernet.

    Args:
        table: another table than that run's; None for that one.
        fleet: where the tables of further devices are.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    pairs = (
        (table or source.table, target.table),
        (source.space, target.space),
        (source.network, target.network),
        *((path, target.fleet.table(number)) for number, path in enumerate(fleet)),
    )
    for path, place in pairs:
        if path.is_file():
            place.parent.mkdir(exist_ok=True)
            copy_whole(path, place)
    write_inputs(inputs, target.inputs)


def take_over_supernet(source: RunFolder, target: RunFolder, *, sha256: str) -> None:
    """Copy the supernet of another run into the folder of one that has begun, where it is not there yet.

    A folder without settings must not hold a supernet: a run of other settings would take it for its own. A process
    that is killed in between leaves the copy to the next one, which makes it while the other run still has it.

    Args:
        sha256: of the supernet that the run began with.
    """
    if not target.supernet.exists() and source.supernet.is_file() and sha256_of(source.supernet) == sha256:
        target.supernet.parent.mkdir(exist_ok=True)
        copy_whole(source.supernet, target.supernet)
