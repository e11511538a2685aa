"""The inputs that a run was begun with besides its settings: kept or recognised, so that its folder can be moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from hwnas.config import RunConfig
from hwnas.dataflow import Dataset
from hwnas.errors import RequestError, RunError
from hwnas.pipeline.file_settings import COMPONENT_SETTINGS, file_named, fleet_tables
from hwnas.records import STRICT, read_record
from safe_files import sha256_of, write_text
from search_spaces import SpaceSpec
from search_spaces.space import SpecValue

NUM_LOOKED_AT = 1000
"""Images of each split that are looked at to recognise data."""

SAME_BRIGHTNESS = 1.0
"""Tolerated difference in brightness, of 255: other versions of Pillow decode and resize images a bit differently."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Fingerprint:
    """The facts that data are recognised by.

    Attributes:
        num_images: by split.
        labels_sha256: of the classes' names and of every image's class.
        brightness: mean of some images, by split.
    """

    num_images: dict[str, int]
    labels_sha256: str
    brightness: dict[str, float]

    def is_same(self, other: Fingerprint) -> bool:
        """Return whether the data are the same as far as this tells."""
        return (
            self.num_images == other.num_images
            and self.labels_sha256 == other.labels_sha256
            and all(
                abs(self.brightness[split] - other.brightness[split]) <= SAME_BRIGHTNESS for split in self.num_images
            )
        )

    def __str__(self) -> str:
        return ", ".join(f"{num:,} images to {split}" for split, num in self.num_images.items())


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Origin:
    """The run that another one took its supernet and its table from.

    Attributes:
        run: its folder then, for the record.
        supernet_sha256: of the supernet's checkpoint.
        images_seed: divides the images as for the supernet, which must not be judged by images that it learnt from.
    """

    run: str
    supernet_sha256: str
    images_seed: int


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Inputs:
    """The inputs that a run was begun with.

    Attributes:
        space: the fields of its spec, under the name that its latency table has it.
        device: the name of the device.
        files: SHA-256 of the files that settings name, by setting: tables, devices, code, spaces, benchmarks.
        data: what its data are recognised by.
        origin: where its supernet and its table are from; None where it made them, or was given the table.
    """

    space: dict[str, SpecValue]
    device: str
    files: dict[str, str]
    data: Fingerprint
    origin: Origin | None = None

    @property
    def spec(self) -> SpaceSpec:
        """The spec of the search space."""
        return SpaceSpec(**self.space)  # type: ignore[arg-type]

    def require_same_table(self, path: Path, *, run: Path, setting: str = "lut") -> None:
        """Make sure that the file of a table that was given is that of the table that the run was begun with.

        Args:
            setting: that names the table: of the first device, or of one of a fleet.

        Raises:
            RequestError: it is another's.
        """
        if path.is_file() and sha256_of(path) != self.files.get(setting):
            raise RequestError(
                f"{path} is not the table that {run} was begun with: restore a copy of the one in there, "
                "or give that table with --lut"
            )

    def require_same_files(self, config: RunConfig, names: Iterable[str], *, run: Path) -> None:
        """Make sure that the files that settings name are those that the run was begun with, where they are there.

        Args:
            names: of the settings, dotted.

        Raises:
            RequestError: one of them is another.
        """
        for name in names:
            path, expected = file_named(config, name), self.files.get(name)
            if path is not None and path.is_file() and expected not in (None, sha256_of(path)):
                raise RequestError(
                    f"{path} is not what {run} was begun with ({name}): it has changed, or is another; "
                    "give that one, --resume alone to continue with the run's own copy, or another --out"
                )

    def require_same_data(self, dataset: Dataset, *, where: Path, run: Path) -> None:
        """Make sure that data are those that the run was begun with.

        Raises:
            RequestError: they are others.
        """
        found = fingerprint_of(dataset)
        if not self.data.is_same(found):
            but = "" if str(found) != str(self.data) else ", but others"
            raise RequestError(
                f"the data in {where} are not those that {run} was begun with: expected {self.data}, found "
                f"{found}{but}; give those with --data-root, or begin another run"
            )


def read_inputs(path: Path) -> Inputs | None:
    """Return what a run was begun with; None where an earlier version began it, which did not write that down.

    Raises:
        RequestError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return read_record(Inputs, path, remedy="restore a copy of it")
    except RunError as error:
        raise RequestError(str(error)) from error


def write_inputs(inputs: Inputs, path: Path) -> None:
    """Write what a run is begun with into a file of its folder.

    Raises:
        WriteError: there is no room, or nothing may be written there.
    """
    fields = {name: value for name, value in asdict(inputs).items() if (name, value) != ("origin", None)}
    write_text(path, json.dumps(fields, indent=1) + "\n")


def fingerprint_of(dataset: Dataset) -> Fingerprint:
    """Return what data are recognised by, wherever they lie and whatever version decodes them."""
    splits = {"train": dataset.train, "validate": dataset.validation, "test": dataset.test}
    digest = hashlib.sha256(json.dumps(dataset.classes).encode())
    num_images, brightness = {}, {}
    for name, split in splits.items():
        if split is not None:
            digest.update(split.targets_N.numpy().tobytes())
            num_images[name] = len(split)
            chosen = split.subset(np.linspace(0, len(split) - 1, min(len(split), NUM_LOOKED_AT)).astype(np.int64))
            if not split.is_of_pixels:  # nothing decodes these another way
                digest.update(chosen.images().contiguous().numpy().tobytes())
            total = sum(float(images.double().sum()) for images, _ in chosen.chunks(100))
            brightness[name] = total / (len(chosen) * chosen.images_NCHW[0].numel())
    return Fingerprint(num_images=num_images, labels_sha256=digest.hexdigest(), brightness=brightness)


def file_hashes(config: RunConfig) -> dict[str, str]:
    """Return the SHA-256 of the files that settings name, by setting; files that are not there are left out."""
    names = (*COMPONENT_SETTINGS, "lut", "devices", "space.weights", *fleet_tables(config))
    named = {name: file_named(config, name) for name in names}
    return {name: sha256_of(path) for name, path in named.items() if path is not None and path.is_file()}
