"""Data sets in people's formats: map-style ones, Hugging Face's on disk, WebDataset's shards; and what is wrong."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelled_files import (
    CLASSES,
    PER_CLASS,
    SIZE,
    Member,
    hugging_face_features,
    hugging_face_table,
    level,
    png,
    shard_members,
    write_shard,
)

from hwnas.dataflow import Batches, Dataset, images, items, load_dataset
from hwnas.dataflow.pictures import picture
from hwnas.errors import RequestError
from hwnas.progress import Reporter


def _require_our_images(dataset: Dataset) -> None:
    """Every image is of one level, which tells its class; a fifth of each class is the test."""
    assert dataset.input_shape == (3, SIZE, SIZE)
    levels = []
    for split in (dataset.train, dataset.test):
        for image, target in zip(split.images(), split.targets_N.tolist(), strict=True):
            assert int(image.min()) == int(image.max()), "one level all over"
            assert (int(image.max()) - 20) // 70 == target
            levels.append(int(image.max()))
    assert sorted(levels) == [level(n, p) for n in range(len(CLASSES)) for p in range(PER_CLASS)]
    assert len(dataset.test) == 4


OWN = """
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

LEVELS = [(20 + 70 * n + 5 * p, n) for n in range(3) for p in range(6)]

class Pil(Dataset):
    classes = ["cat", "dog", "owl"]
    kind = "pil"
    def __init__(self, levels=LEVELS): self.levels = levels
    def __len__(self): return len(self.levels)
    def __getitem__(self, position):
        level, target = self.levels[position]
        array = np.full((8, 8, 3), level, dtype=np.uint8)
        return {
            "pil": lambda: Image.fromarray(array),
            "array": lambda: array,
            "planes": lambda: array.transpose(2, 0, 1),
            "grey": lambda: array[..., 0],
            "floats": lambda: array / np.float32(255),
            "tensor": lambda: torch.from_numpy(array).permute(2, 0, 1).float() / 255,
            "bytes": lambda: torch.from_numpy(array).permute(2, 0, 1),
        }[self.kind](), target

class Array(Pil): kind = "array"
class Planes(Pil): kind = "planes"
class Grey(Pil): kind = "grey"
class Floats(Pil): kind = "floats"
class Tensor(Pil): kind = "tensor"
class Bytes(Pil): kind = "bytes"

def of_folder(root, input_size): return Pil()
def of_nothing(): return Pil()
def by_split(root): return {"train": Pil(), "valid": Pil(LEVELS[::2]), "test": Pil(LEVELS[1::2])}
def as_pair(root): return Pil(), Pil(LEVELS[::3])
class TorchVision(Pil):
    def __init__(self, root, train=True, transform=None, download=False):
        assert transform is None and not download
        super().__init__(LEVELS if train else LEVELS[::2])

class Broken(Pil):
    def __getitem__(self, position):
        if position == 4: raise OSError("disk on fire")
        return super().__getitem__(position)
class Normalised(Pil):
    def __getitem__(self, position): return torch.randn(3, 8, 8), 0
class Alone(Pil):
    def __getitem__(self, position): return super().__getitem__(position)[0]
class Named(Pil):
    def __getitem__(self, position): return super().__getitem__(position)[0], "cat"
class Negative(Pil):
    def __getitem__(self, position): return super().__getitem__(position)[0], -1
class Empty(Pil):
    def __len__(self): return 0
class Unnamed(Pil):
    classes = None
    def __getitem__(self, position): return super().__getitem__(position)[0], [0, 5][position % 2]
class Missing(Pil):
    classes = ["cat", "dog", "owl", "emu"]
class Fewer(Pil):
    classes = ["cat", "dog"]
class Words:
    classes = ["cat", "dog"]
    def __len__(self): return 6
    def __getitem__(self, position): return "word", position % 2
class Iterable:
    def __iter__(self): return iter(())
def as_list(root, input_size): return [(1, 2)]
def other_arguments(spec): return Pil()
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(
    "name", ["Pil", "Array", "Planes", "Grey", "Floats", "Tensor", "Bytes", "of_folder", "of_nothing"]
)
def test_a_map_style_data_set_is_read_whatever_its_images_are(name: str, own: Path, tmp_path: Path) -> None:
    dataset = load_dataset(f"{own}:{name}", tmp_path)
    assert dataset.classes == CLASSES and dataset.name == name
    _require_our_images(dataset)


def test_several_data_sets_are_its_splits(own: Path, tmp_path: Path) -> None:
    by_split = load_dataset(f"{own}:by_split", tmp_path)
    assert by_split.validation is not None
    assert [len(s) for s in (by_split.train, by_split.validation, by_split.test)] == [18, 9, 9]
    pair = load_dataset(f"{own}:as_pair", tmp_path)
    assert [len(pair.train), len(pair.test), pair.validation] == [18, 6, None]
    torchvision = load_dataset(f"{own}:TorchVision", tmp_path)
    assert [len(torchvision.train), len(torchvision.test)] == [18, 9]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Broken", r"cannot read item 4 of .*Broken \(train\): OSError: disk on fire; .*--skip-broken-images"),
        ("Normalised", r"item 0 .*expected floats from 0 to 1, found -.*leave normalisation"),
        ("Alone", r"item 0 .*expected an image and its class, found Image"),
        ("Named", r"item 0 .*expected the number of a class.*found str 'cat'; give \(image, class\)"),
        ("Negative", r"item 0 .*expected the number of a class.*found int '-1'"),
        ("Empty", r"Empty \(train\) has no images: expected one at least"),
        ("Unnamed", r"are 2 numbers up to 5: expected 0 to 1, each with images"),
        ("Missing", r"has no images of emu; add some, or leave the classes out"),
        ("Fewer", r"has the class 2: expected 0 to 1"),
        ("Words", r"item 0 .*expected a PIL image, an array or a tensor, found str"),
        ("Iterable", r"expected a function load\(root, input_size\) .*map-style.*; it made a Iterable"),
        ("as_list", r"it made a list"),
        ("other_arguments", r"found one made from other arguments: spec"),
    ],
)
def test_a_map_style_data_set_that_is_none_is_told_what_is_expected(
    name: str, words: str, own: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=words):
        load_dataset(f"{own}:{name}", tmp_path)


def test_broken_images_are_left_out_where_asked_for(own: Path, tmp_path: Path) -> None:
    dataset = load_dataset(f"{own}:Broken", tmp_path, skip_broken_images=True)
    assert len(dataset.train) + len(dataset.test) == 17
    assert "1 unreadable (the first: item 4: OSError: disk on fire)" in dataset.remarks[0]
    with pytest.raises(RequestError, match=r"no image of .* can be read"):
        load_dataset(f"{own}:Words", tmp_path, skip_broken_images=True)


def test_processes_read_many_images_in_order_and_draw_nothing(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "MANY", 10)
    monkeypatch.setattr(items, "_num_processes", lambda: 2)
    monkeypatch.setattr(items, "READ_AT_ONCE", 3)
    lines: list[str] = []
    monkeypatch.setattr(Reporter, "line", lambda self, text: lines.append(text))
    state = torch.random.get_rng_state()
    _require_our_images(load_dataset(f"{own}:Pil", tmp_path, reporter=Reporter()))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(lines) == 1 and "reading" in lines[0] and "done in" in lines[0]
    with pytest.raises(RequestError, match=r"item 4 .*disk on fire"):
        load_dataset(f"{own}:Broken", tmp_path)


def _on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(items, "MOST_IN_MEMORY", 100)
    monkeypatch.setattr(images, "MOST_IN_MEMORY", 100)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hwnas" / "images"


def test_data_that_do_not_fit_in_memory_are_mapped_from_a_file_and_made_ahead(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_dataset(f"{own}:by_split", tmp_path)
    folder = _on_disk(monkeypatch, tmp_path)
    mapped = load_dataset(f"{own}:by_split", tmp_path)
    assert mapped.train.is_on_disk and not whole.train.is_on_disk
    assert [*folder.iterdir()] == [], "what cannot be recognised again is not kept"
    torch.testing.assert_close(mapped.train.images(), whole.train.images())
    ahead: list[bool] = []
    made_ahead = sys.modules["hwnas.dataflow.batches"].made_ahead
    monkeypatch.setattr("hwnas.dataflow.batches.made_ahead", lambda batches: ahead.append(True) or made_ahead(batches))
    found = [
        [x_NCHW for x_NCHW, _ in Batches.of(dataset, dataset.train, 4).shuffled(torch.Generator().manual_seed(0))]
        for dataset in (whole, mapped)
    ]
    assert ahead == [True]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@given(
    shape=st.sampled_from([(6, 5), (6, 5, 3), (6, 5, 1), (3, 6, 5), (1, 6, 5)]),
    kind=st.sampled_from(["uint8", "float32", "float64"]),
    is_tensor=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pictures_hold_what_arrays_hold(shape: tuple[int, ...], kind: str, is_tensor: bool, seed: int) -> None:
    if is_tensor and len(shape) == 3 and shape[0] == 6:
        shape = (shape[2], *shape[:2])
    levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    values = levels if kind == "uint8" else (levels / 255).astype(kind)
    found = np.asarray(picture(torch.from_numpy(values) if is_tensor else values))
    planes = levels if len(shape) == 2 else levels.transpose(1, 2, 0) if shape[-1] == 5 else levels
    np.testing.assert_array_equal(found, planes.squeeze())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            np.zeros((4, 4, 2), np.uint8),
            r"expected \[H, W, C\] of one or three channels, or \[H, W\], found \[4, 4, 2\]",
        ),
        (torch.zeros(4, 4, 3), r"expected \[C, H, W\] of one or three channels"),
        (np.zeros((0, 4), np.uint8), r"found \[0, 4\]"),
        (np.zeros(4, np.uint8), r"found \[4\]"),
        (np.zeros((4, 4), np.int64), "expected bytes .*, found int64"),
        (np.full((4, 4), np.nan, np.float32), "expected floats from 0 to 1, found nan"),
        (np.full((4, 4), 255.0), "found 255 to 255"),
        (None, "found NoneType"),
    ],
)
def test_what_is_no_picture_is_told_what_is_expected(image: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        picture(image)


@pytest.mark.parametrize("label", ["number", "name", "json"])
def test_shards_are_read(label: str, tmp_path: Path) -> None:
    members = shard_members(label=label)
    write_shard(tmp_path / "a-000.tar", members[:10])
    write_shard(tmp_path / "a-001.tar", [*members[10:], ("._0-0.png", b"")])
    dataset = load_dataset("webdataset", tmp_path)
    assert dataset.classes == (CLASSES if label == "name" else ("0", "1", "2"))
    _require_our_images(dataset)
    if label != "name":
        (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
        assert load_dataset("webdataset", tmp_path).classes == CLASSES


def test_shards_are_of_the_split_that_their_name_or_folder_says(tmp_path: Path) -> None:
    by_name, by_folder = tmp_path / "by_name", tmp_path / "by_folder"
    for name, first in {"train-0.tar": 3, "val-0.tar": 2, "test-0.tar": 1}.items():
        write_shard(by_name / name, shard_members()[: 12 * first])
        write_shard(by_folder / name.partition("-")[0] / "0.tar", shard_members()[: 12 * first])
    for root in (by_name, by_folder):
        dataset = load_dataset("webdataset", root)
        assert dataset.validation is not None
        assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [18, 12, 6]
    write_shard(by_name / "other.tar", shard_members())
    with pytest.raises(RequestError, match=r"names that begin so, or all without, found other\.tar"):
        load_dataset("webdataset", by_name)


def test_shards_that_do_not_fit_in_memory_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = shard_members()
    members[8] = (members[8][0], b"no image")
    path = write_shard(tmp_path / "a.tar", members)
    folder = _on_disk(monkeypatch, tmp_path)
    first = load_dataset("webdataset", tmp_path, skip_broken_images=True)
    assert len([*folder.iterdir()]) == 1 and len(first.train) + len(first.test) == 17
    monkeypatch.setattr(items, "_loaded", lambda _: pytest.fail("decoded again"))
    again = load_dataset("webdataset", tmp_path, skip_broken_images=True)
    torch.testing.assert_close(again.train.images(), first.train.images())
    assert again.train.targets_N.tolist() == first.train.targets_N.tolist() and again.remarks == first.remarks
    with pytest.raises(RequestError, match=r"cannot read item 4 .*: it is damaged, or no image"):
        load_dataset("webdataset", tmp_path)
    monkeypatch.undo()
    _on_disk(monkeypatch, tmp_path)
    write_shard(path, shard_members())
    assert len(load_dataset("webdataset", tmp_path).train) == 14


WRONG: Mapping[str, tuple[list[Member], str]] = {
    "pickled": (
        [*shard_members(), ("x.pyd", b"cos\nsystem\n(S'true'\ntR.")],
        r"x\.pyd, which is pickled and runs code",
    ),
    "no class": ([*shard_members(), ("x.png", png(1))], r"x has no \.cls or \.json; expected both"),
    "no image": ([*shard_members(), ("x.cls", b"1"), ("x.txt", b"")], r"x has no image beside txt; expected both"),
    "two images": ([("x.png", png(1)), ("x.jpg", png(1))], r"expected one image of x"),
    "half named": (
        [*shard_members(), ("x.png", png(1)), ("x.cls", b"cat")],
        r"all numbers or all names, found 0 and 'cat'",
    ),
    "a gap": ([*shard_members(), ("x.png", png(1)), ("x.cls", b"7")], r"are 4 numbers up to 7: expected 0 to 3"),
    "a fraction": (
        [("x.png", png(1)), ("x.json", b'{"cls": 0.5}')],
        r"expected a class, a number or a name, found '0\.5'",
    ),
    "no JSON": ([("x.png", png(1)), ("x.json", b"{")], r"x\.json is no class"),
    "bytes": ([("x.png", png(1)), ("x.cls", b"\xff\xfe")], r"x\.cls is no class"),
    "a long class": ([("x.png", png(1)), ("x.cls", b"1" * 100_000)], r"x\.cls has 100000 bytes, expected a class"),
    "one class": (shard_members([0]), r"expected two classes at least"),
    "no members": ([], r"has no images: expected one at least"),
    "a broken image": (
        [("x.png", b"no"), ("x.cls", b"0"), *shard_members()],
        r"cannot read item 0 .*--skip-broken-images",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_shards_that_cannot_be_read_are_said(name: str, tmp_path: Path) -> None:
    members, words = WRONG[name]
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(RequestError, match=words) as raised:
        load_dataset("webdataset", tmp_path)
    assert "no whole .tar file" not in str(raised.value)


def test_damaged_and_missing_shards_are_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"expected \.tar files in .*, found none"):
        load_dataset("webdataset", tmp_path)
    with pytest.raises(RequestError, match="no folder"):
        load_dataset("webdataset", tmp_path / "none")
    path = write_shard(tmp_path / "a.tar", shard_members())
    content = path.read_bytes()
    for kept in (content[: len(content) // 3 + 100], b"garbage" * 200, b""):
        path.write_bytes(kept)
        with pytest.raises(RequestError, match=r"a\.tar .*(no whole \.tar file|not whole in it|damaged)|no images"):
            load_dataset("webdataset", tmp_path)


def test_links_and_devices_in_shards_are_not_followed(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", shard_members())
    with tarfile.open(path, "a") as shard:
        for kind, name in ((tarfile.SYMTYPE, "x.png"), (tarfile.CHRTYPE, "y.png"), (tarfile.LNKTYPE, "z.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            shard.addfile(info)
    _require_our_images(load_dataset("webdataset", tmp_path))


@given(content=st.binary(max_size=2000), place=st.integers(0, 20_000))
def test_any_bytes_in_a_shard_are_read_or_refused(content: bytes, place: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("shard")
    path = write_shard(folder / "a.tar", shard_members())
    whole = bytearray(path.read_bytes())
    whole[place : place + len(content)] = content
    path.write_bytes(bytes(whole))
    try:
        dataset = load_dataset("webdataset", folder)
    except RequestError:
        return
    assert len(dataset.classes) >= 2


def test_a_data_set_of_hugging_face_is_read_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="needs hwnas[datasets]")
    hugging_face_table().save_to_disk(str(tmp_path / "one"))
    dataset = load_dataset("huggingface", tmp_path / "one")
    assert dataset.classes == CLASSES
    _require_our_images(dataset)
    parts = datasets.DatasetDict(
        {"train": hugging_face_table(), "validation": hugging_face_table(), "extra": hugging_face_table()}
    )
    parts.save_to_disk(str(tmp_path / "several"))
    folder = _on_disk(monkeypatch, tmp_path)
    several = load_dataset("huggingface", tmp_path / "several")
    assert [len(several.train), len(several.test), several.validation] == [18, 18, None] and several.train.is_on_disk
    assert len([*folder.iterdir()]) == 2
    monkeypatch.setattr(items, "_loaded", lambda _: pytest.fail("decoded again"))
    again = load_dataset("huggingface", tmp_path / "several")
    torch.testing.assert_close(again.train.images(), several.train.images())


def test_data_of_hugging_face_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs hwnas[datasets]")
    features = hugging_face_features()
    plain = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    two = datasets.Features(
        {**features, "fine": datasets.ClassLabel(names=["a"]), "coarse": datasets.ClassLabel(names=["b"])}
    )
    two.pop("label")
    rows = {"image": [{"bytes": png(1), "path": None}], "fine": [0], "coarse": [0]}
    wrong = {
        "no images": (plain, r"has the columns text \(Value\), label \(Value\): expected one of Image, found 0"),
        "two labels": (datasets.Dataset.from_dict(rows, features=two), r"expected one of ClassLabel, found 2"),
        "unlabelled": (hugging_face_table([(png(1), -1), (png(2), 0)]), r"1 of 2 images have no class"),
        "null": (hugging_face_table([(png(1), None), (png(2), 0)]), r"1 of 2 images have no class"),
        "broken": (hugging_face_table([(b"no", 0), (png(2), 1)]), r"cannot read item 0"),
        "empty": (hugging_face_table([]), r"cannot read the data set in .*empty|0 of 0 images have no class"),
        "tests": (
            datasets.DatasetDict({"test": hugging_face_table()}),
            r"has the splits test: expected train among them",
        ),
    }
    for name, (made, words) in wrong.items():
        made.save_to_disk(str(tmp_path / name))
        with pytest.raises(RequestError, match=words):
            load_dataset("huggingface", tmp_path / name)
    with pytest.raises(RequestError, match="holds no data set that save_to_disk"):
        load_dataset("huggingface", tmp_path)
    (tmp_path / "broken" / "state.json").write_text("{")
    with pytest.raises(RequestError, match="cannot read the data set in"):
        load_dataset("huggingface", tmp_path / "broken")


def test_the_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RequestError, match=r"pip install 'hwnas\[datasets\]'"):
        load_dataset("huggingface", tmp_path)


LOADERS = """
from task_samples import dataset_for


def plain(root, input_size):
    return dataset_for("classes")


def careful(root, input_size, *, skip_broken_images=False):
    assert skip_broken_images
    return dataset_for("classes")
"""


def test_loaders_of_ones_own_are_given_the_keywords_that_they_take(tmp_path: Path) -> None:
    (tmp_path / "loaders.py").write_text(LOADERS)
    own = tmp_path / "loaders.py"
    assert load_dataset(f"{own}:plain", tmp_path).name == "toy"
    assert load_dataset(f"{own}:careful", tmp_path, skip_broken_images=True).name == "toy"
    with pytest.raises(RequestError, match="takes no keyword skip_broken_images"):
        load_dataset(f"{own}:plain", tmp_path, skip_broken_images=True)
