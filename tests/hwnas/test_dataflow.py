"""Data sets and batches."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from annotated_data import WRITERS
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_files import hugging_face_table, shard_members, write_shard
from PIL import Image

from hwnas.dataflow import DATAFLOWS, Augmentation, Batches, Dataset, Split, images, load_dataset
from hwnas.dataflow.augmentation import COLOURS, WARPS, operation_move
from hwnas.dataflow.augmentation import augmented as augmented_with_targets
from hwnas.dataflow.prefetch import made_ahead
from hwnas.dataflow.targets import KINDS
from hwnas.errors import RequestError

RNG = np.random.default_rng(0)


def write_cifar(root: Path, name: str) -> None:
    """A tiny data set in the binary layout of CIFAR-10 or CIFAR-100."""
    num_classes, label_bytes = (10, 1) if name == "cifar10" else (100, 2)
    folder = root / ("cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary")
    folder.mkdir(parents=True)
    train_files = [f"data_batch_{i}.bin" for i in range(1, 6)] if name == "cifar10" else ["train.bin"]
    for file in [*train_files, "test_batch.bin" if name == "cifar10" else "test.bin"]:
        records = RNG.integers(0, 256, (20, label_bytes + 3072), dtype=np.uint8)
        records[:, :label_bytes] = RNG.integers(0, num_classes, (20, label_bytes))
        (folder / file).write_bytes(records.tobytes())
    names = "batches.meta.txt" if name == "cifar10" else "fine_label_names.txt"
    (folder / names).write_text("\n".join(f"class{i}" for i in range(num_classes)) + "\n\n")


def write_idx(root: Path, *, compress: bool = True) -> None:
    """A tiny data set in the files of MNIST."""
    for prefix, num in (("train", 30), ("t10k", 10)):
        images = (
            struct.pack(">4B3I", 0, 0, 8, 3, num, 12, 12) + RNG.integers(0, 256, num * 144, dtype=np.uint8).tobytes()
        )
        labels = struct.pack(">4B1I", 0, 0, 8, 1, num) + bytes(i % 4 for i in range(num))
        for name, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            (root / (name + ".gz" * compress)).write_bytes(gzip.compress(content) if compress else content)


def write_folder(root: Path) -> None:
    """Two classes of images of several sizes, modes and formats."""
    for label, colour in (("cats", 40), ("dogs", 200)):
        (root / label / "deep").mkdir(parents=True)
        for number, (mode, suffix) in enumerate([("RGB", "png"), ("L", "jpg"), ("RGBA", "png"), ("P", "gif")] * 3):
            path = root / label / ("deep" if number % 2 else ".") / f"{number}.{suffix}"
            Image.new("RGB", (20 + number, 30), (colour,) * 3).convert(mode).save(path)
    (root / "cats" / "notes.txt").write_text("not an image")


def write_arrays(root: Path, *, channels_last: bool = False) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for name, num in (("train", 30), ("test", 12)):
        images = rng.integers(0, 256, (num, 3, 12, 12), dtype=np.uint8)
        arrays[f"x_{name}"] = np.moveaxis(images, 1, -1) if channels_last else images
        arrays[f"y_{name}"] = np.arange(num) % 3
    np.savez(root / "images.npz", **arrays)


MAKERS: dict[str, Callable[[Path], object]] = {
    "digits": lambda root: None,
    "huggingface": lambda root: hugging_face_table().save_to_disk(str(root)),
    "webdataset": lambda root: write_shard(root / "0.tar", shard_members()),
    "cifar10": lambda root: write_cifar(root, "cifar10"),
    "cifar100": lambda root: write_cifar(root, "cifar100"),
    "idx": write_idx,
    "folder": write_folder,
    "arrays": lambda root: write_arrays(root),
    "arrays-channels-last": lambda root: write_arrays(root, channels_last=True),
    **WRITERS,
}


def test_every_dataflow_is_tested() -> None:
    assert set(MAKERS) == set(DATAFLOWS)


@pytest.fixture(params=sorted(MAKERS))
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    MAKERS[request.param](tmp_path)
    return load_dataset(request.param, tmp_path)


def test_contract(dataset: Dataset) -> None:
    for split in (dataset.train, dataset.test):
        assert split.images().dtype == torch.uint8
        assert split.images().shape[1:] == (dataset.in_channels, dataset.input_size, dataset.input_size)
        size = (dataset.input_size, dataset.input_size)
        KINDS[dataset.target_kind].require(split.targets_N, num_classes=len(dataset.classes), size=size)
        assert 0 <= int(dataset.classes_of(split).min()) <= int(dataset.classes_of(split).max()) < len(dataset.classes)
    mean, std = dataset.channel_statistics()
    scaled = dataset.train.images().double() / 255
    torch.testing.assert_close(mean.double(), scaled.mean(dim=(0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(std.double(), scaled.std(dim=(0, 2, 3), correction=0), atol=1e-5, rtol=0)


def test_batches_are_normalised_channels_last_and_complete(dataset: Dataset) -> None:
    batches = Batches.of(dataset, dataset.train, 7)
    in_order = list(batches.in_order())
    x = torch.cat([x for x, _ in in_order])
    assert len(x) == len(dataset.train)
    assert in_order[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(dataset.in_channels), atol=1e-4, rtol=0)
    assert torch.equal(torch.cat([t for _, t in in_order]), dataset.train.targets_N)


def test_shuffling_follows_the_generator(dataset: Dataset) -> None:
    batches = Batches.of(dataset, dataset.train, 5)

    def epoch(seed: int) -> list[torch.Tensor]:
        return [x for x, _ in batches.shuffled(torch.Generator().manual_seed(seed))]

    assert len(epoch(0)) == batches.num_shuffled == max(1, len(dataset.train) // 5)
    assert all(torch.equal(a, b) for a, b in zip(epoch(0), epoch(0), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(epoch(0), epoch(1), strict=True))


def test_resizing_keeps_the_labels(dataset: Dataset) -> None:
    resized = dataset.resized(20)
    assert resized.input_size == 20
    assert torch.equal(resized.classes_of(resized.train), dataset.classes_of(dataset.train))
    assert torch.equal(resized.train.targets_N, dataset.train.targets_N) or dataset.target_kind != "classes"
    assert abs(float(resized.train.images().float().mean() - dataset.train.images().float().mean())) < 3


def test_digits_are_the_real_ones() -> None:
    dataset = load_dataset("digits", Path())
    assert (len(dataset.train), len(dataset.test), dataset.input_size) == (1437, 360, 8)
    counts = torch.bincount(dataset.test.targets_N)
    assert counts.min() >= 34 and counts.max() <= 37


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_cifar_is_read_from_its_archive(compression: str, tmp_path: Path) -> None:
    write_cifar(tmp_path / "source", "cifar10")
    archive = tmp_path / f"cifar-10-binary.tar.{compression}"
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(tmp_path / "source" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    expected = load_dataset("cifar10", tmp_path / "source")
    for root in (tmp_path, archive):
        assert torch.equal(load_dataset("cifar10", root).train.images(), expected.train.images())
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(RequestError, match=r"damaged|cut short"):
        load_dataset("cifar10", archive)


def test_archive_members_outside_its_folder_are_only_ever_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("../../evil.bin")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(RequestError, match=r"lacks data_batch_1.bin"):
        load_dataset("cifar10", tmp_path)
    assert not (tmp_path.parent.parent / "evil.bin").exists()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        (
            "cifar10",
            lambda r: _truncate(r / "cifar-10-batches-bin/data_batch_2.bin"),
            "batch_2.bin .*whole records",
        ),
        ("cifar10", lambda r: (r / "cifar-10-batches-bin/data_batch_2.bin").unlink(), "cannot read .*data_batch_2.bin"),
        ("cifar10", lambda r: (r / "cifar-10-batches-bin/batches.meta.txt").write_text("a b"), "must name 10 classes"),
        ("idx", lambda r: _truncate(r / "train-images-idx3-ubyte.gz"), "is damaged"),
        ("idx", lambda r: (r / "t10k-labels-idx1-ubyte.gz").unlink(), "no t10k-labels-idx1-ubyte or"),
        ("idx", lambda r: (r / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"abcdefgh")), "not an IDX file"),
        ("folder", lambda r: (r / "cats" / "0.png").write_bytes(b"no image"), "cannot read the image .*0.png"),
    ],
)
def test_damaged_files_are_named(name: str, spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    spoil(tmp_path)
    with pytest.raises(RequestError, match=words):
        load_dataset(name, tmp_path)


def test_uncompressed_idx_is_cut_short(tmp_path: Path) -> None:
    write_idx(tmp_path, compress=False)
    assert len(load_dataset("idx", tmp_path).train) == 30
    _truncate(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(RequestError, match="must hold"):
        load_dataset("idx", tmp_path)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"digits"}))
def test_missing_data_says_where_it_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"{tmp_path}.*--data-root"):
        load_dataset(name, tmp_path / "nowhere")


def test_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(
        RequestError, match="unknown data set 'imagenet'; there are: arrays, arrays-channels-last, cifar10"
    ):
        load_dataset("imagenet", Path())


def test_folder_with_its_own_division(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folder(tmp_path / part)
    dataset = load_dataset("folder", tmp_path, input_size=16)
    assert (len(dataset.train), len(dataset.test), dataset.classes) == (24, 24, ("cats", "dogs"))
    (tmp_path / "test" / "birds").mkdir()
    with pytest.raises(RequestError, match="lacks: birds"):
        load_dataset("folder", tmp_path)


@pytest.mark.slow
def test_real_cifar10(benchmark_data: Path) -> None:
    dataset = load_dataset("cifar10", benchmark_data)
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert torch.bincount(dataset.test.targets_N).tolist() == [1000] * 10


def _split(num: int) -> Split:
    return Split(images_NCHW=torch.zeros(num, 1, 2, 2, dtype=torch.uint8), targets_N=torch.arange(num))


@given(num=st.integers(2, 60), portion=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_division_loses_and_repeats_nothing(num: int, portion: float, seed: int) -> None:
    first, second = _split(num).divided(portion, np.random.default_rng(seed))
    assert sorted(torch.cat([first.targets_N, second.targets_N]).tolist()) == list(range(num))
    assert abs(len(first) - portion * num) <= 1


def test_limit_keeps_distinct_images() -> None:
    limited = _split(50).limited(20, np.random.default_rng(0))
    assert len(set(limited.targets_N.tolist())) == 20
    assert _split(5).limited(None, np.random.default_rng(0)).targets_N.tolist() == list(range(5))


@given(shift=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 99), size=st.integers(4, 9))
@settings(max_examples=40, deadline=None)
def test_augmentation_equals_a_plain_loop(shift: int, flip: bool, seed: int, size: int) -> None:
    images = torch.randint(1, 256, (6, 2, size, size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    found = augmented(images, Augmentation(shift=shift, flip=flip), torch.Generator().manual_seed(seed))
    replay = torch.Generator().manual_seed(seed)
    top, left = torch.randint(0, 2 * shift + 1, (2, 6), generator=replay) if shift else torch.zeros(2, 6, dtype=int)
    flipped = torch.rand(6, generator=replay) < 0.5 if flip else [False] * 6
    for i in range(6):
        padded = torch.zeros(2, size + 2 * shift, size + 2 * shift, dtype=torch.uint8)
        padded[:, shift : shift + size, shift : shift + size] = images[i]
        expected = padded[:, top[i] : top[i] + size, left[i] : left[i] + size]
        assert torch.equal(found[i], expected.flip(2) if flipped[i] else expected)


def augmented(images: torch.Tensor, changes: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """The images changed, whatever their classes."""
    return augmented_with_targets(images, torch.zeros(len(images), dtype=torch.int64), changes, generator)[0]


def _images(num: int = 6, size: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (num, 3, size, size), generator=torch.Generator().manual_seed(3)).to(torch.uint8)


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(crop=0.2), Augmentation(operations=2, magnitude=0.6), Augmentation(cutout=5)],
    ids=["crop", "operations", "cutout"],
)
def test_augmentations_change_images_by_the_generator_alone(augmentation: Augmentation) -> None:
    images = _images()
    kept = images.clone()
    one, same, other = (augmented(images, augmentation, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(images, kept) and one.dtype == torch.uint8 and one.shape == images.shape
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert not torch.equal(one, images)


def test_crops_keep_what_they_show() -> None:
    """A horizontal ramp stays one: every crop's columns rise, and its range is within the whole's."""
    ramp = torch.linspace(0, 255, 32).to(torch.uint8).expand(8, 1, 32, 32)
    cropped = augmented(ramp, Augmentation(crop=0.1), torch.Generator().manual_seed(0)).float()
    assert (cropped.diff(dim=3) >= 0).all()
    spans = cropped.amax(dim=(1, 2, 3)) - cropped.amin(dim=(1, 2, 3))
    assert spans.min() < 150 and spans.max() <= 255


def test_cut_out_squares_take_the_mean_colour_and_nothing_else() -> None:
    images = torch.zeros(50, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 0] = 180
    changed = (augmented(images, Augmentation(cutout=3), torch.Generator().manual_seed(0)) == 20)[:, 0]
    sizes = changed.sum(dim=(1, 2))
    assert sizes.max() == 9 and sizes.min() >= 4  # at corners a part of it is outside
    assert (changed.any(dim=1).sum(dim=1) * changed.any(dim=2).sum(dim=1) == sizes).all()


@pytest.mark.parametrize("name", sorted({*WARPS, *COLOURS}))
def test_operations_of_no_strength_change_nothing(name: str) -> None:
    images, none = _images(), torch.zeros(6)
    if name in WARPS:
        changed = operation_move(name, none, height=12, width=12).pixels(images, 0, "bilinear")
    else:
        changed = COLOURS[name](images, none)
    assert (changed.int() - images.int()).abs().max() <= 1  # rounding


def test_balanced_batches_hold_so_many_images_of_each_class() -> None:
    targets = torch.cat([torch.zeros(50), torch.ones(7), torch.full((30,), 2), torch.full((2,), 3)]).long()
    split = Split(images_NCHW=torch.zeros(len(targets), 1, 2, 2, dtype=torch.uint8), targets_N=targets)
    dataset = Dataset(name="t", classes=tuple("abcd"), train=split, test=split, augmentation=Augmentation())
    batches = Batches.of(dataset, split, 12, images_per_class=4)
    drawn = [t for _, t in batches.shuffled(torch.Generator().manual_seed(0))]
    assert len(drawn) == batches.num_shuffled == 7
    for targets_N in drawn:
        classes, counts = targets_N.unique(return_counts=True)
        assert len(classes) == 3 and all(c == (2 if t == 3 else 4) for t, c in zip(classes, counts, strict=True))


def test_many_images_are_mapped_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data set, batch for batch, whose file is found again, and made anew once an image changed."""
    data = tmp_path / "data"
    write_folder(data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = load_dataset("folder", data, input_size=24)
    monkeypatch.setattr(images, "MOST_IN_MEMORY", 1000)
    mapped = load_dataset("folder", data, input_size=24)
    assert mapped.train.is_on_disk and not expected.train.is_on_disk
    batches = [Batches.of(d, d.train, 5).shuffled(torch.Generator().manual_seed(1)) for d in (mapped, expected)]
    for (x, targets), (y, others) in zip(*batches, strict=True):
        assert torch.equal(x, y) and torch.equal(targets, others)
    (stored,) = (tmp_path / "cache" / "hwnas" / "images").iterdir()
    before = stored.stat().st_mtime_ns
    load_dataset("folder", data, input_size=24)
    assert stored.stat().st_mtime_ns == before
    image = next(p for p in sorted(data.rglob("*.png")))
    Image.new("RGB", (30, 30)).save(image)
    load_dataset("folder", data, input_size=24)
    assert len(list(stored.parent.iterdir())) == 2
    image.write_bytes(b"no image")
    with pytest.raises(RequestError, match=r"cannot read the image"):
        load_dataset("folder", data, input_size=24)
    assert len(list(stored.parent.iterdir())) == 2  # no draft is left


def test_subsets_of_subsets_are_the_right_images() -> None:
    images = torch.arange(60, dtype=torch.uint8)[:, None, None, None]
    split = Split(images_NCHW=images, targets_N=torch.arange(60))
    part = split.subset(np.array([5, 7, 11, 13])).subset(np.array([3, 1]))
    assert part.images().flatten().tolist() == part.targets_N.tolist() == [13, 7]
    assert [t.tolist() for _, t in part.chunks(1)] == [[13], [7]]
    assert part.images_NCHW is images


def test_items_made_ahead_are_the_same_and_errors_arrive_in_their_place() -> None:
    def failing() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    assert list(made_ahead(iter(range(7)))) == list(range(7))
    found = made_ahead(failing())
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"the fourth"):
        next(found)
