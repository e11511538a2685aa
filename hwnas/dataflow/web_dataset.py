"""Images and classes in tar files, in the form of WebDataset's shards."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from hwnas.dataflow.class_names import NAMES_FILE, read_names
from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.files import require_regular
from hwnas.dataflow.images import opened
from hwnas.dataflow.items import Reading, Source, dataset_of
from hwnas.dataflow.listing import SUFFIXES, is_hidden
from hwnas.dataflow.split_folders import split_named
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize
from safe_files import FileError, parse_json

PICKLED = frozenset({"pickle", "pkl", "pyd", "pth", "pt"})
"""Ends of names of members that are Python's own objects, which run code where they are read."""

MOST_IMAGE_BYTES, MOST_CLASS_BYTES = 2**28, 2**16
"""Bytes that an image, and what tells its class, hold at most."""


def load_web_dataset(
    root: Path,
    input_size: ImageSize | None,
    *,
    skip_broken_images: bool = False,
    is_grey: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """Images of the .tar files in a folder, WebDataset's shards: `KEY.jpg` (or `.png`) and `KEY.cls` (or `.json`).

    Splits are folders, `train/`, `val/` and `test/`, or what the files' names begin with, as in `train-0000.tar`;
    without them a fifth of each class is set aside for the test. Classes are numbers from 0, or names; a file
    `classes.txt` beside the shards names numbers, a line each. A `.json` has them as "cls", "label" or "class". Nothing
    is unpacked, and no member is run: pickled ones are refused.

    Args:
        root: the folder.
        input_size: pixels a side, or height and width; None for those of the first image where it is square, else 64.
        skip_broken_images: leave out what cannot be read instead of refusing it.
        is_grey: whether images have one channel.

    Raises:
        RequestError: there are no such files, one is damaged, or a member is missing, pickled or no class.
    """
    samples = {split: [s for path in paths for s in _samples(path)] for split, paths in _shards(root).items()}
    names, number_of = _classes(root, samples)
    sources = {
        split: Source(
            name=f"{root} ({split})",
            items=_Images(found),
            targets_N=np.array([number_of[sample.label] for sample in found], dtype=np.int64),
            identity=_identity(found),
        )
        for split, found in samples.items()
    }
    reading = Reading(input_size=input_size, skip_broken=skip_broken_images, is_grey=is_grey, reporter=reporter)
    return dataset_of("webdataset", sources, names, reading)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """An image in a shard: where its bytes are, and what its class is called."""

    shard: Path
    offset: int
    size_bytes: int
    label: str


@dataclass(kw_only=True, slots=True)
class _Members:
    """The members of a sample, by the end of their names."""

    key: str
    image: tarfile.TarInfo | None = None
    label: str | None = None
    others: list[str] = field(default_factory=list)


class _Images:
    """The images of samples; their classes are known already."""

    def __init__(self, samples: Sequence[_Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        sample = self._samples[position]
        with sample.shard.open("rb") as file:
            file.seek(sample.offset)
            return opened(io.BytesIO(file.read(sample.size_bytes))), 0


def _shards(root: Path) -> dict[str, list[Path]]:
    """Return the tar files by split.

    Raises:
        RequestError: there are none, or it cannot be told which are for what.
    """
    if not root.is_dir():
        raise RequestError(f"no folder {root}; name one that has the .tar files of a WebDataset with --data-root")
    paths = sorted(p for p in [*root.glob("*.tar"), *root.glob("*/*.tar")] if not is_hidden(p.name))
    found: dict[str | None, list[Path]] = {}
    for path in paths:
        words = re.match("[a-z]*", path.name.lower())
        assert words is not None
        word = path.parent.name.lower() if path.parent != root else words[0]
        found.setdefault(split_named(word), []).append(path)
    unknown = found.pop(None, [])
    if unknown and not found:
        return {"train": unknown}
    if unknown or "train" not in found:
        names = ", ".join(path.name for path in (unknown or paths)[:3]) or "none"
        raise RequestError(
            f"expected .tar files in {root}, in folders train/, val/ and test/ or with names that begin so, or all "
            f"without, found {names}; rename or add them"
        )
    return {str(split): paths for split, paths in found.items()}


def _samples(path: Path) -> Iterator[_Sample]:
    """Yield the samples of a shard; members of one follow each other.

    Raises:
        RequestError: the file is damaged, or a sample lacks something.
    """
    require_regular(path)
    size_bytes, current = path.stat().st_size, None
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                key, _, end = PurePosixPath(member.name).name.partition(".")
                if not member.isreg() or is_hidden(PurePosixPath(member.name).name):
                    continue
                if member.issparse() or member.offset_data + member.size > size_bytes:
                    raise RequestError(f"{path} is damaged: {member.name} is not whole in it; copy the file again")
                key = str(PurePosixPath(member.name).parent / key)
                if current is None or current.key != key:
                    if current is not None:
                        yield _sample(path, current)
                    current = _Members(key=key)
                _add(path, shard, member, end.lower(), current)
            _require_end(path, shard.offset)
    except RequestError:  # a ValueError, which says all itself
        raise
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise RequestError(f"{path} is no whole .tar file: {error}; copy it again") from error
    if current is not None:
        yield _sample(path, current)


def _require_end(path: Path, offset: int) -> None:
    """Raise RequestError unless a block of zeros is where the members end: `tarfile` takes what is cut for the end."""
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        raise RequestError(f"{path} is no whole .tar file: it breaks off after {offset} bytes; copy it again")


def _add(path: Path, shard: tarfile.TarFile, member: tarfile.TarInfo, end: str, members: _Members) -> None:
    if end in PICKLED:
        raise RequestError(
            f"{path} has {member.name}, which is pickled and runs code where it is read: expected images with .cls or "
            ".json; write the shards anew without it"
        )
    if f".{end}" in SUFFIXES:
        if members.image is not None or member.size > MOST_IMAGE_BYTES:
            raise RequestError(f"{path}: expected one image of {members.key} of {MOST_IMAGE_BYTES} bytes at most")
        members.image = member
    elif end in ("cls", "json"):
        label = _label(path, shard, member, end)
        members.label = members.label if label is None else label
    else:
        members.others.append(end)


def _label(path: Path, shard: tarfile.TarFile, member: tarfile.TarInfo, end: str) -> str | None:
    """Return what a member says that the class is; None for a JSON without one."""
    file = shard.extractfile(member)
    assert file is not None, "it is a regular member"
    if member.size > MOST_CLASS_BYTES:
        raise RequestError(f"{path}: {member.name} has {member.size} bytes, expected a class")
    try:
        said: object = file.read().decode().strip()
        if end == "json":
            record = parse_json(str(said))
            names = ("cls", "label", "class")
            said = next((record[name] for name in names if name in record), "") if isinstance(record, dict) else record
    except (UnicodeDecodeError, FileError, ValueError) as error:
        raise RequestError(f"{path}: {member.name} is no class: {error}") from error
    if isinstance(said, bool) or not isinstance(said, str | int):
        raise RequestError(f"{path}: {member.name}: expected a class, a number or a name, found {str(said)[:40]!r}")
    return str(said) or None


def _sample(path: Path, members: _Members) -> _Sample:
    missing = [n for n, part in (("image", members.image), (".cls or .json", members.label)) if part is None]
    if members.image is None or members.label is None:
        others = f" beside {', '.join(members.others[:3])}" if members.others else ""
        raise RequestError(f"{path}: {members.key} has no {' and no '.join(missing)}{others}; expected both")
    return _Sample(shard=path, offset=members.image.offset_data, size_bytes=members.image.size, label=members.label)


def _classes(root: Path, samples: Mapping[str, Sequence[_Sample]]) -> tuple[Sequence[str] | None, dict[str, int]]:
    """Return the names of the classes, None where they are numbers, and the number of each label.

    Raises:
        RequestError: some are numbers and some are none, or there are more than names.
    """
    labels = sorted({sample.label for found in samples.values() for sample in found})
    numbers = [label for label in labels if re.fullmatch("[0-9]{1,9}", label)]
    named = read_names(root / NAMES_FILE) if (root / NAMES_FILE).exists() else None
    if len(numbers) == len(labels):
        if named is not None and labels and (most := max(map(int, labels))) >= len(named):
            raise RequestError(f"{root / NAMES_FILE} names {len(named)} classes, but there is number {most}")
        return named, {label: int(label) for label in labels}
    if numbers:
        others = sorted(set(labels) - set(numbers))
        raise RequestError(
            f"{root}: expected classes that are all numbers or all names, found {numbers[0]} and {others[0]!r}; use one"
        )
    names = labels if named is None else named
    if unknown := [label for label in labels if label not in names]:
        raise RequestError(f"{root / NAMES_FILE} does not name {unknown[0]!r}, which images have for their class")
    return names, {name: number for number, name in enumerate(names)}


def _identity(samples: Sequence[_Sample]) -> list[list[str | int]]:
    shards = [(path, path.stat()) for path in dict.fromkeys(sample.shard for sample in samples)]
    return [[str(path.resolve()), facts.st_size, facts.st_mtime_ns] for path, facts in shards]
