"""Archives, IDX files, lists of pairs and loaders of one's own that are damaged, hostile or something else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.dataflow import load_dataset
from hwnas.dataflow.pairs import read_pairs
from hwnas.errors import RequestError

RNG = np.random.default_rng(0)


def idx(shape: tuple[int, ...], content: bytes, *, dimensions: int | None = None) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, dimensions or len(shape), *shape) + content


def write_idx(root: Path, labels: bytes = bytes(range(4))) -> None:
    for prefix in ("train", "t10k"):
        (root / f"{prefix}-images-idx3-ubyte").write_bytes(idx((4, 3, 3), bytes(36)))
        (root / f"{prefix}-labels-idx1-ubyte").write_bytes(idx((4,), labels))


def cifar_archive(compression: str) -> bytes:
    """A small data set in CIFAR-10's binary version; its images hardly compress."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{compression}") as tar:
        for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt"]:
            records = RNG.integers(0, 10, (2, 3073), dtype=np.uint8).tobytes()
            body = "\n".join(f"class{i}" for i in range(10)).encode() if name.endswith("txt") else records
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


ARCHIVES = {compression: cifar_archive(compression) for compression in ("gz", "xz", "bz2", "")}


@given(compression=st.sampled_from(sorted(ARCHIVES)), data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_archives_are_read_or_refused(compression: str, data: st.DataObject) -> None:
    damaged = bytearray(ARCHIVES[compression])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, 40))
        damaged[start : start + data.draw(st.sampled_from([1, 1, 8, 512]))] = data.draw(st.binary(max_size=8))
        damaged = damaged or bytearray(b"x")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cifar-10-binary.tar.any"
        path.write_bytes(damaged)
        try:
            load_dataset("cifar10", path)
        except RequestError as error:
            assert "cifar10" in str(error) or "cifar-10" in str(error) or "classes" in str(error)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress], ids=["gz", "xz", "bz2"])
def test_archives_that_unpack_without_end_are_refused(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    member.size = 2**33
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(compress(member.tobuf() + bytes(2**20)))
    with pytest.raises(RequestError, match=r"holds 8589934592 bytes of .*more than such an archive has"):
        load_dataset("cifar10", path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(kind: str, tmp_path: Path) -> None:
    def put(path: Path) -> None:
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()

    (tmp_path / "idx").mkdir()
    write_idx(tmp_path / "idx")
    put(tmp_path / "idx" / "t10k-images-idx3-ubyte")
    batches = tmp_path / "cifar-10-batches-bin"
    batches.mkdir()
    (batches / "test_batch.bin").write_bytes(bytes(3073))
    put(batches / "data_batch_1.bin")
    put(tmp_path / "archive")
    put(tmp_path / "pairs.txt")
    for name, root in (("idx", tmp_path / "idx"), ("cifar10", tmp_path), ("cifar10", tmp_path / "archive")):
        with pytest.raises(RequestError, match=r"expected a regular file|expected the folder"):
            load_dataset(name, root)
    with pytest.raises(RequestError, match="expected a regular file"):
        read_pairs(tmp_path / "pairs.txt", tmp_path, [])


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**31, 28, 28), (10**7, 28, 28), (4, 0, 0)])
def test_idx_files_that_claim_gigabytes_are_refused(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    content = idx(shape, bytes(36))
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(RequestError, match=f"train-images.*claims to hold {'x'.join(map(str, shape))} bytes"):
        load_dataset("idx", tmp_path)


def test_compressed_idx_files_are_not_unpacked_beyond_their_claim(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    bomb = gzip.compress(idx((4, 3, 3), bytes(2**27)), 1)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    with pytest.raises(RequestError, match=r"must hold \(4, 3, 3\) bytes of data, got more than 36"):
        load_dataset("idx", tmp_path)


IDX = idx((4, 3, 3), RNG.integers(0, 256, 36, dtype=np.uint8).tobytes())


@given(data=st.data(), compressed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_idx_files_are_read_or_refused(data: st.DataObject, compressed: bool) -> None:
    damaged = bytearray(gzip.compress(IDX) if compressed else IDX)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, 2 * len(damaged))) :]
    with tempfile.TemporaryDirectory() as folder:
        write_idx(Path(folder))
        (Path(folder) / "train-images-idx3-ubyte").unlink()
        (Path(folder) / f"train-images-idx3-ubyte{'.gz' * compressed}").write_bytes(damaged)
        try:
            assert len(load_dataset("idx", Path(folder)).train) == 4
        except RequestError as error:
            assert str(error)


def test_labels_that_are_not_numbered_from_zero_are_classes_all_the_same(tmp_path: Path) -> None:
    write_idx(tmp_path, bytes([1, 3, 7, 3]))
    dataset = load_dataset("idx", tmp_path)
    assert dataset.classes == ("1", "3", "7") and dataset.train.targets_N.tolist() == [0, 1, 2, 1]
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx((4,), bytes([1, 2, 3, 7])))
    with pytest.raises(RequestError, match=r"tests the labels \[2\], of which there are no training images"):
        load_dataset("idx", tmp_path)


def test_idx_names_with_a_dot_are_found(tmp_path: Path) -> None:
    write_idx(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(load_dataset("idx", tmp_path).train) == 4


def test_parts_of_unlike_images_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx((4, 2, 2), bytes(16)))
    with pytest.raises(RequestError, match="images of all parts must be alike"):
        load_dataset("idx", tmp_path)


PAIRS = b"ann 1 2\nann 1 bob 1\nann/ann_0001.png bob/bob_0001.png\n"
IMAGES = [Path("test") / name for name in ("ann/ann_0001.png", "ann/ann_0002.png", "bob/bob_0001.png")]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_pairs_are_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(PAIRS)
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        word = st.sampled_from(["\u00b2", " \u0661", ".", "/", "..", "9" * 5000, " 1", "\n"]).map(str.encode)
        damaged[start : start + data.draw(st.integers(0, 3))] = data.draw(word | st.binary(max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.txt"
        path.write_bytes(damaged)
        try:
            assert read_pairs(path, Path("test"), IMAGES).max() < 3
        except RequestError as error:
            assert "pairs.txt" in str(error)


def test_pairs_that_are_not_utf8_say_where(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_bytes("ann 1 2\nJos\u00e9 1 2\n".encode("latin-1"))
    with pytest.raises(RequestError, match=r"is not UTF-8 text: .* at byte 11; save it anew"):
        read_pairs(tmp_path / "pairs.txt", Path("test"), IMAGES)


OWN = """
import torch
from hwnas.dataflow import Augmentation, Dataset, Split

def as_list(root, size): return [1]
def nothing(root, size): pass
def failing(root, size): return {}["images"]
def no_arguments(): pass
def other_arguments(spec): pass
value = 3

def dataset(images, targets, num_classes=2):
    split = Split(images_NCHW=images, targets_N=torch.tensor(targets))
    parts = {"train": split, "test": split, "augmentation": Augmentation()}
    return Dataset(name="mine", classes=tuple(map(str, range(num_classes))), **parts)

def wide(root, size): return dataset(torch.zeros(2, 1, 4, 4, dtype=torch.int64), [0, 1])
def none_at_all(root, size): return dataset(torch.zeros(0, 1, 4, 4, dtype=torch.uint8), [])
def unknown(root, size): return dataset(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), [0, 2])
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("as_list", r"expected a function .* that returns a Dataset, or .*; it made a list"),
        ("nothing", r"expected a function .* that returns a Dataset, or .*; it made a NoneType"),
        ("failing", r"failed: KeyError: 'images' \(.*own\.py, line 7\)"),
        ("no_arguments", r"expected a function .*; it made a NoneType"),
        ("other_arguments", r"expected a function .*; found one made from other arguments: spec"),
        ("value", r"expected a function load\(root, input_size\) .*; found a int"),
        ("wide", "images must be uint8 or float32 NCHW, got torch.int64"),
        ("none_at_all", "expected a label per image, and one image at least, got 0 and 0"),
        ("unknown", "targets must be 0 to 1, a class each, got 0 to 2"),
    ],
)
def test_loaders_of_ones_own_that_do_not_load_are_told_what_is_expected(
    function: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(RequestError, match=words):
        load_dataset(f"{tmp_path}/own.py:{function}", tmp_path)
