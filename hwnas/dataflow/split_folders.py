"""The folders of a data set that are its splits, and the classes that they agree on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hwnas.dataflow.listing import ClassFolder, is_image, visible_folders
from hwnas.errors import RequestError

NAMES = {
    "train": ("train", "training", "tr", "trn"),
    "validation": ("val", "valid", "validation", "dev", "devel", "development", "va"),
    "test": (
        *("test", "testing", "te", "tst", "eval", "evaluation"),
        *("holdout", "hold-out", "hold_out", "heldout", "held-out", "held_out"),
    ),
}
"""Names that people give the folders of the splits, in any case."""

SHORT = frozenset({"tr", "trn", "va", "te", "tst"})
"""Names that are classes' too, languages' and countries' for example: of splits only where all folders are splits."""


def find_split_folders(root: Path) -> dict[str, Path]:
    """Folders of class folders by split: train alone where there is no division, or where only train/ is there.

    Without a test/, val/ is the test.

    Raises:
        RequestError: it cannot be told what is what.
    """
    folders = visible_folders(root)
    named = _named(folders, are_all_splits=all(split_named(f.name) and visible_folders(f) for f in folders))
    is_divided = bool(named["train"]) and bool(named["validation"] or named["test"])
    if not is_divided and not (named["train"] and len(folders) == 1):
        _require_classes(root, folders)
        return {"train": root}
    for split, found in named.items():
        if len(found) > 1:
            names = " and ".join(f.name for f in found)
            raise RequestError(f"{root} has {names}, both for {split}: expected one of them; join or remove one")
    splits = {split: found[0] for split, found in named.items() if found}
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    return splits


def split_named(*words: str) -> str | None:
    """Return the split that the first known word names, in any case; None for none."""
    found = (split for word in words for split, names in NAMES.items() if word.lower() in names)
    return next(found, None)


def _named(folders: Sequence[Path], *, are_all_splits: bool) -> dict[str, list[Path]]:
    """Return the folders by the split that they are, without those of short names where others may be classes."""
    return {
        split: [f for f in folders if split_named(f.name) == split and (are_all_splits or f.name.lower() not in SHORT)]
        for split in NAMES
    }


def agreed_classes(splits: Mapping[str, tuple[Path, Sequence[ClassFolder]]]) -> tuple[str, ...]:
    """Return the names of all classes, those trained on first; the other splits' are among them or all new.

    Raises:
        RequestError: a split has no classes, a class that is trained on or new has no images, or some are new.
    """
    for folder, listed in splits.values():
        _require_two(folder, listed)
    train, trained = splits["train"]
    _require_images(train, trained)
    known = {found.name: None for found in trained}
    for folder, listed in [found for split, found in splits.items() if split != "train"]:
        unknown = [found for found in listed if found.name not in {c.name for c in trained}]
        if unknown and len(unknown) < len(listed):
            names = ", ".join(found.name for found in unknown)
            raise RequestError(f"{folder} has classes that {train} lacks: {names}; add or remove them")
        if unknown or not any(found.images for found in listed):
            _require_images(folder, listed)
        known |= {found.name: None for found in unknown}
    return tuple(known)


def _require_classes(root: Path, folders: Sequence[Path]) -> None:
    """Raise where folders taken for classes would be something else."""
    words = [set(re.findall("[a-z]+", folder.name.lower())) for folder in folders]
    of_parts = {name for names in NAMES.values() for name in names} - SHORT
    names = ", ".join(folder.name for folder in folders)
    if folders and all(found & of_parts for found in words):
        raise RequestError(
            f"{root} has the folders {names}, which are splits of a data set rather than classes: expected train/ with "
            "val/ or test/, each with a folder per class; rename or add them"
        )
    _require_no_repeats(root, folders)
    if divided := [f for f in folders if _has_parts(visible_folders(f))]:
        raise RequestError(
            f"{divided[0]} has folders for training and testing: expected {root}/train/{divided[0].name} and "
            f"{root}/test/{divided[0].name}, the splits outside and the classes inside; move them"
        )


def _require_no_repeats(root: Path, folders: Sequence[Path]) -> None:
    """Raise where another folder has the same folders as one for training: it is a split of an unknown name."""
    for train in [f for f in folders if split_named(f.name) == "train"]:
        inside = {f.name for f in visible_folders(train)}
        for other in [f for f in folders if f != train]:
            if len(repeated := sorted(inside & {f.name for f in visible_folders(other)})) >= 2:
                raise RequestError(
                    f"{root} has {train.name}/ and {other.name}/ with the same folders ({', '.join(repeated[:3])}): "
                    f"they look like splits rather than classes: rename {other.name}/ to val/ or test/, or "
                    f"{train.name}/ if it is a class"
                )


def _has_parts(folders: Iterable[Path]) -> bool:
    splits = {split_named(folder.name) for folder in folders if folder.name.lower() not in SHORT}
    return "train" in splits and bool(splits & {"validation", "test"})


def _require_two(folder: Path, listed: Sequence[ClassFolder]) -> None:
    if len(listed) >= 2:
        return
    found = ", ".join(f"{found.name}/" for found in listed) or "none"
    if flat := sum(is_image(path) for path in folder.iterdir() if not path.is_dir()):
        found += f", and {flat} images without one"
    inner = visible_folders(folder / listed[0].name) if listed else []
    remedy = f"; {listed[0].name}/ has {len(inner)} itself: name that folder" if len(inner) >= 2 else ""
    raise RequestError(f"expected at least two class folders in {folder}, found {found}{remedy}")


def _require_images(folder: Path, listed: Sequence[ClassFolder]) -> None:
    empty = [f"{found.name} ({_holdings(found)})" for found in listed if not found.images]
    if empty:
        raise RequestError(
            f"no images in the class folders {', '.join(empty)} of {folder}; add some, save them as PNG or JPEG, or "
            "remove the folders"
        )


def _holdings(found: ClassFolder) -> str:
    return ", ".join(f"{num} {kind}" for kind, num in found.skipped.most_common()) or "empty"
