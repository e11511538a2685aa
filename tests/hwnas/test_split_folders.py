"""What is taken for splits and classes of an image folder, and what is left out and said."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import fill, fill_classes, load
from PIL import Image

from hwnas.config_file import load_config
from hwnas.dataflow import load_dataset
from hwnas.dataflow.listing import is_hidden, list_classes
from hwnas.dataflow.split_folders import NAMES, find_split_folders
from hwnas.errors import RequestError
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter


def greys(images_NCHW: torch.Tensor) -> set[int]:
    return set(images_NCHW.flatten().tolist())


SPLIT_NAMES = [(split, name) for split, names in NAMES.items() for name in names]


@given(
    train=st.sampled_from(NAMES["train"]),
    others=st.lists(st.sampled_from(["validation", "test"]), min_size=1, unique=True),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_parts_are_recognised_whatever_their_case(train: str, others: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, expected = Path(folder), {}
        for split, name in [("train", train), *((p, data.draw(st.sampled_from(NAMES[p]))) for p in others)]:
            cased = "".join(data.draw(st.sampled_from([c, c.upper()])) for c in name)
            expected[split] = root / cased
            (root / cased / "cats").mkdir(parents=True)
        if "test" not in expected:
            expected["test"] = expected.pop("validation")
        assert find_split_folders(root) == expected


def test_a_class_of_trains_stays_one(tmp_path: Path) -> None:
    for index, name in enumerate(("bus", "train", "tram")):
        fill(tmp_path / name, grey=20 * index)
    assert load(tmp_path).classes == ("bus", "train", "tram")


def test_languages_stay_classes(tmp_path: Path) -> None:
    for index, name in enumerate(("de", "te", "tr", "va")):
        fill(tmp_path / name / "page", grey=20 * index)
    assert load(tmp_path).classes == ("de", "te", "tr", "va")


@pytest.mark.parametrize("names", [("tr", "te"), ("TR", "va", "te")])
def test_two_languages_stay_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    for index, name in enumerate(names):
        fill(tmp_path / name, grey=20 * index)
    assert load(tmp_path).classes == tuple(sorted(names))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "dev", "eval"), ("tr", "va", "te"), ("Training", "Dev", "Evaluation"), ("train", "val", "hold-out")],
)
def test_other_names_of_parts_are_read(train: str, validation: str, test: str, tmp_path: Path) -> None:
    for index, (name, num) in enumerate([(train, 6), (validation, 4), (test, 3)]):
        fill_classes(tmp_path / name, num=num, grey=60 * index)
    dataset = load(tmp_path)
    assert dataset.validation is not None and dataset.classes == ("cats", "dogs")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (12, 8, 6)


def test_pictures_that_are_in_two_parts_are_counted(tmp_path: Path) -> None:
    fill_classes(tmp_path / "train")
    fill_classes(tmp_path / "val", grey=60)
    fill_classes(tmp_path / "test", grey=120)
    for index in range(3):
        copied = (tmp_path / "train" / "cats" / f"{index}.png").read_bytes()
        (tmp_path / "test" / "cats" / f"copy{index}.png").write_bytes(copied)
    (line,) = load(tmp_path).remarks
    assert "train and " in line and f"{tmp_path / 'test'} share 3 pictures" in line


def test_train_alone_is_divided(tmp_path: Path) -> None:
    fill_classes(tmp_path / "Train")
    dataset = load(tmp_path)
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (("cats", "dogs"), 9, 3)
    assert dataset.validation is None and "Train/ alone" in dataset.remarks[0]


def test_val_is_the_test_where_there_is_no_other(tmp_path: Path) -> None:
    fill_classes(tmp_path / "train")
    fill_classes(tmp_path / "val", num=3, grey=100)
    dataset = load(tmp_path)
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (("cats", "dogs"), 12, 6)
    assert dataset.validation is None and any("val/ is the test" in line for line in dataset.remarks)


def three_parts(root: Path) -> Path:
    for index, split in enumerate(("Train", "Valid", "Test")):
        fill_classes(root / split, num=6 - index, grey=60 * index)
    return root


def make_run(root: Path, **overrides: object) -> Run:
    settings = {"max_latency": "60%", "data.name": "folder", "data.root": str(root), "space.input_size": 4}
    return Run(load_config(None, {**settings, **overrides}), Reporter(is_quiet=True))


def test_images_of_val_score_networks_and_are_never_trained_on(tmp_path: Path) -> None:
    run = make_run(three_parts(tmp_path))
    splits = run.splits
    train, scoring, learnt, choosing = splits.train, splits.validation, splits.retrain, splits.retrain_validation
    assert choosing is not None
    assert len(train) == len(learnt) == 12 and len(scoring) == len(choosing) == 10 and len(run.dataset.test) == 8
    assert greys(scoring.images()) == greys(choosing.images()) == {*range(60, 65), *range(80, 85)}
    assert not greys(learnt.images()) & greys(scoring.images())


def test_portions_are_refused_where_val_scores_networks(tmp_path: Path) -> None:
    three_parts(tmp_path)
    for name in ("data.train_portion", "retrain.validation_portion"):
        with pytest.raises(RequestError, match=f"brings validation images.*leave out {name}"):
            _ = make_run(tmp_path, **{name: 0.5}).dataset


def test_validation_images_are_resized_with_the_others(tmp_path: Path) -> None:
    resized = load(three_parts(tmp_path)).resized(7)
    assert resized.validation is not None and resized.validation.images().shape == (10, 3, 7, 7)


def test_identities_of_val_that_are_trained_on_join_them(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for index in range(8):
            fill(tmp_path / split / f"person{index}", num=2)
    for index in range(3):
        fill(tmp_path / "test" / f"new{index}", num=2)
    held_out = load(tmp_path).holding_out_classes(0.2, np.random.default_rng(0))
    assert held_out.validation is None and len(held_out.train) == 32 and len(held_out.test) == 6


def test_identities_of_val_that_are_new_score_networks(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for index in range(4):
            fill(tmp_path / split / f"{split}{index}", num=2)
    dataset = load(tmp_path)
    assert len(dataset.classes) == 12 and dataset.validation is not None
    assert dataset.holding_out_classes(0.2, np.random.default_rng(0)) is dataset
    with pytest.raises(RequestError, match="tests classes none of which is trained on"):
        _ = make_run(tmp_path).dataset


HIDDEN_FILES = (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", ".0.png")
HIDDEN_FOLDERS = (".ipynb_checkpoints", "__MACOSX", "@eaDir")


def test_hidden_and_system_files_are_no_images(tmp_path: Path) -> None:
    fill_classes(tmp_path)
    for folder in (tmp_path, tmp_path / "cats"):
        for name in HIDDEN_FILES:
            (folder / name).write_bytes(b"not an image")
        for name in HIDDEN_FOLDERS:
            fill(folder / name, num=2, grey=200)
    dataset = load(tmp_path)
    assert (dataset.classes, len(dataset.train) + len(dataset.test)) == (("cats", "dogs"), 12)
    assert not {200, 201} & (greys(dataset.train.images()) | greys(dataset.test.images()))
    assert f"{2 * (5 + 3 * 2)} hidden or of the system" in dataset.remarks[-1]


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20))
def test_names_of_users_are_not_hidden(name: str) -> None:
    assert is_hidden("." + name)
    if not name.startswith(".") and name.isalnum() and "macosx" not in name.lower():
        assert not is_hidden(name)


def test_every_file_that_is_not_read_is_counted(tmp_path: Path) -> None:
    fill_classes(tmp_path / "train")
    fill_classes(tmp_path / "test", grey=100)
    fill(tmp_path / "extra", num=3)
    (tmp_path / "train" / "cats" / "a.heic").write_bytes(b"")
    (tmp_path / "train" / "cats" / "deep").mkdir()
    (tmp_path / "train" / "cats" / "deep" / "b.HEIC").write_bytes(b"")
    (tmp_path / "test" / "notes").write_text("")
    Image.new("L", (9, 9)).save(tmp_path / "train" / "stray.png")
    (line,) = load(tmp_path).remarks
    counts = {"2 .heic", "1 without a suffix", "1 outside of class folders", "3 in extra/"}
    assert set(line.partition("not read: ")[2].split(", ")) == counts


def test_nothing_is_said_of_folders_that_are_read_whole(tmp_path: Path) -> None:
    assert load(fill_classes(tmp_path)).remarks == ()


def test_a_size_that_nobody_asked_for_is_said(tmp_path: Path) -> None:
    dataset = load_dataset("folder", fill_classes(tmp_path))
    assert dataset.input_size == 64 and "resized to 64 pixels a side; --input-size" in dataset.remarks[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: (root / "birds").mkdir(), r"no images in the class folders birds \(empty\)"),
        (lambda root: (fill(root / "birds", num=2) / "0.png").unlink(), r"expected at least five.*one image of birds"),
        (lambda root: _as_heic(fill(root / "birds")), r"birds \(6 .heic\) of .*save them as PNG or JPEG"),
        (lambda root: fill(root / "birds" / ".ipynb_checkpoints"), r"birds \(6 hidden or of the system\)"),
        (lambda root: _link(root / "birds", root / "cats"), "birds and cats of .* are one"),
    ],
)
def test_classes_without_images_are_named(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    make(fill_classes(tmp_path))
    with pytest.raises(RequestError, match=words):
        load(tmp_path)


def _as_heic(folder: Path) -> None:
    for path in folder.iterdir():
        path.rename(path.with_suffix(".heic"))


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target, target_is_directory=True)


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_that_are_never_trained_on_are_named(split: str, tmp_path: Path) -> None:
    three_parts(tmp_path)
    real = next(path for path in tmp_path.iterdir() if path.name.lower().startswith(split))
    fill(real / "birds")
    with pytest.raises(RequestError, match=r"has classes that .*Train lacks: birds"):
        load(tmp_path)
    (tmp_path / "Train" / "birds").mkdir()
    with pytest.raises(RequestError, match=r"no images in the class folders birds \(empty\) of .*Train"):
        load(tmp_path)


def test_classes_that_are_never_tested_are_said(tmp_path: Path) -> None:
    three_parts(tmp_path)
    for folder in ("Train", "Valid"):
        fill(tmp_path / folder / "birds")
    assert any("Test has no images of birds" in line for line in load(tmp_path).remarks)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = fill_classes(tmp_path / "data")
    elsewhere = fill(tmp_path / "elsewhere", num=3, grey=100)
    fill(root / "cats" / "z", num=2, grey=150)
    for name, target in (
        ("a", elsewhere),
        ("b", elsewhere),
        ("up", root),
        ("top", tmp_path),
        ("self", root / "cats"),
        ("dogs", root / "dogs"),
        ("a_z", root / "cats" / "z"),
    ):
        _link(root / "cats" / name, target)
    _link(elsewhere / "back", root / "cats")
    cats = list_classes(root)[0]
    assert [str(p.relative_to(root / "cats")) for p in cats.images] == [
        *(f"{i}.png" for i in range(6)),
        *(f"a/{i}.png" for i in range(3)),
        *(f"z/{i}.png" for i in range(2)),
    ]
    assert cats.skipped["links to folders that are read elsewhere"] == 7
    assert "7 links to folders" in load(root).remarks[0]


def test_class_folders_that_are_links_are_read(tmp_path: Path) -> None:
    source = fill_classes(tmp_path / "source")
    (tmp_path / "data").mkdir()
    for name in ("cats", "dogs"):
        _link(tmp_path / "data" / name, source / name)
    assert len(load(tmp_path / "data").train) == 9


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["val/cats", "test/cats"], "val, which are splits of a data set"),
        (["train2017", "val2017"], "train2017, val2017, which are splits"),
        (["seg_train", "seg_test"], "seg_test, seg_train, which are splits"),
        (["train/cats", "Train/cats", "test/cats"], "has Train and train, both for train"),
        (["cats/train", "cats/test", "dogs/train"], "the splits outside and the classes inside"),
        (["photos/cats", "photos/dogs"], r"found photos/; photos/ has 2 itself: name that folder"),
        (
            ["train/cats", "train/dogs", "quiz/cats", "quiz/dogs"],
            r"train/ and quiz/ with the same folders \(cats",
        ),
        (["tr/cats/a", "tr/dogs/a", "quiz/cats/a", "quiz/dogs/a"], r"rename quiz/ to val/ or test/, or tr/ if it is"),
        (["train", "test"], "in .*train, found none, and 6 images without one"),
        (["train/cats", "test/cats"], "at least two class folders in .*train, found cats/"),
    ],
)
def test_other_divisions_are_explained(folders: list[str], words: str, tmp_path: Path) -> None:
    for folder in folders:
        fill(tmp_path / folder)
    with pytest.raises(RequestError, match=words):
        load(tmp_path)


@pytest.mark.parametrize(
    ("num_classes", "num", "words"),
    [(2, 1, "found one image of class0, class1"), (8, 2, "found 16 images of 8 classes")],
)
def test_too_few_images_are_counted_in_our_words(num_classes: int, num: int, words: str, tmp_path: Path) -> None:
    for index in range(num_classes):
        fill(tmp_path / f"class{index}", num=num)
    with pytest.raises(RequestError, match=f"expected at least five of each, {words}"):
        load(tmp_path)


@given(counts=st.lists(st.integers(1, 9), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_small_folders_are_divided_or_refused(counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for index, num in enumerate(counts):
            fill(Path(folder) / f"class{index}", num=num)
        try:
            dataset = load(Path(folder))
        except RequestError as error:
            assert min(counts) < 5 and "expected at least five of each" in str(error)
        else:
            assert set(dataset.train.targets_N.tolist()) == set(range(len(counts)))


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_class_names_that_no_file_can_hold_are_refused(tmp_path: Path) -> None:
    fill_classes(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffrds")).mkdir()
    with pytest.raises(RequestError, match="is not UTF-8: rename it"):
        load(tmp_path)
