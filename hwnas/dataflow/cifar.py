"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009)."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.files import MOST_BYTES, read_file, require_regular
from hwnas.dataflow.layouts import known_layout
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """The files and records of a version of CIFAR; the last of a record's label bytes is the class."""

    name: str
    folder: str
    archive: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int
    num_classes: int


_CIFAR10 = _Layout(
    name="cifar10",
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar",
    train_files=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test_file="test_batch.bin",
    names_file="batches.meta.txt",
    label_bytes=1,
    num_classes=10,
)
_CIFAR100 = _Layout(
    name="cifar100",
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar",
    train_files=("train.bin",),
    test_file="test.bin",
    names_file="fine_label_names.txt",
    label_bytes=2,
    num_classes=100,
)


def load_cifar10(root: Path, _input_size: ImageSize | None) -> Dataset:
    """CIFAR-10 from `root`, its folder or its archive (cifar-10-binary.tar.gz or .xz, as downloaded)."""
    return _load(_CIFAR10, root)


def load_cifar100(root: Path, _input_size: ImageSize | None) -> Dataset:
    """CIFAR-100 with its 100 fine classes, from `root`, its folder or its archive."""
    return _load(_CIFAR100, root)


def _load(layout: _Layout, root: Path) -> Dataset:
    wanted = [*layout.train_files, layout.test_file, layout.names_file]
    contents = _read_all(layout, root, wanted)
    names = contents[layout.names_file].decode(errors="replace").split()
    if len(names) != layout.num_classes:
        raise RequestError(f"{layout.names_file} must name {layout.num_classes} classes, got {len(names)}")
    return Dataset(
        name=layout.name,
        classes=tuple(names),
        train=_parse([(f, contents[f]) for f in layout.train_files], layout),
        test=_parse([(layout.test_file, contents[layout.test_file])], layout),
        augmentation=Augmentation(shift=4, flip=True),
    )


def _read_all(layout: _Layout, root: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    for folder in (root, root / layout.folder):
        if (folder / layout.test_file).is_file():
            return {name: read_file(folder / name) for name in wanted}
    patterns = (layout.archive, f"{layout.archive}.*")
    archives = sorted(path for p in patterns for path in root.glob(p) if path.is_file()) if root.is_dir() else [root]
    if not archives or not archives[0].exists():
        expected = f"the folder {layout.folder}/ or the archive {layout.archive}.gz"
        raise RequestError(
            known_layout(root, reader=layout.name)
            or f"no {layout.name} in {root}: expected {expected}; download the binary version and name its folder "
            "with --data-root"
        )
    return _read_archive(archives[0], layout, wanted)


def _read_archive(archive: Path, layout: _Layout, wanted: Sequence[str]) -> dict[str, bytes]:
    """Return the wanted members, read into memory: nothing is unpacked, so no path of the archive matters."""
    require_regular(archive)
    contents: dict[str, bytes] = {}
    folders: set[Path] = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _require_small(member)
                folders.add(Path(Path(member.name).parts[0]) if Path(member.name).parts else Path())
                name = Path(member.name).name
                if name in wanted and member.isfile():
                    stream = tar.extractfile(member)
                    assert stream is not None
                    contents[name] = stream.read()
    except Exception as error:  # tarfile, and the decompressors below it, raise whatever they stumble over
        named = known_layout(archive, reader=layout.name)
        raise RequestError(
            named or f"{archive} is damaged or not an archive of {layout.name}: {error}; download it again"
        ) from error
    if missing := [name for name in wanted if name not in contents]:
        named = next(
            filter(None, (known_layout(path, reader=layout.name) for path in (archive, *sorted(folders)))), None
        )
        raise RequestError(
            f"{archive} is another: {named}"
            if named
            else f"{archive} lacks {', '.join(missing)}; it may be cut short: download it again"
        )
    return contents


def _require_small(member: tarfile.TarInfo) -> None:
    """Raise where so much would have to be unpacked that it is none of these archives."""
    if member.offset_data + member.size > MOST_BYTES:
        raise tarfile.TarError(f"it holds {member.size} bytes of {member.name[:100]}, more than such an archive has")


def _parse(files: Sequence[tuple[str, bytes]], layout: _Layout) -> Split:
    record = layout.label_bytes + _PIXELS
    for name, content in files:
        if not content or len(content) % record:
            raise RequestError(
                f"{name} of {layout.name} must be whole records of {record} bytes, got {len(content)} bytes; "
                "it may be cut short: download it again"
            )
    table = np.frombuffer(b"".join(content for _, content in files), dtype=np.uint8).reshape(-1, record)
    labels = table[:, layout.label_bytes - 1].astype(np.int64)
    if labels.max() >= layout.num_classes:
        raise RequestError(f"{layout.name} has labels 0 to {layout.num_classes - 1}, got {labels.max()}")
    images = table[:, layout.label_bytes :].reshape(-1, 3, 32, 32).copy()
    return Split(images_NCHW=torch.from_numpy(images), targets_N=torch.from_numpy(labels))
