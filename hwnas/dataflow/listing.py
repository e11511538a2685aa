"""The images in folders of classes, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import RequestError

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .ppm .pgm .pbm .tif .tiff .avif .jp2".split()  # noqa: SIM905
)

SYSTEM = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})
"""Names, in lower case, of what file managers and archivers leave beside people's files."""

HIDDEN = "hidden or of the system"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFolder:
    """The images of a class.

    Attributes:
        images: sorted; links and names that promise an image are taken for one until they are opened.
        skipped: how many other files there are, by what they are.
    """

    name: str
    images: tuple[Path, ...]
    skipped: Counter[str]


def is_hidden(name: str) -> bool:
    """Return whether a name is none of the user's own: begins with a dot, or is one that a system gives."""
    return name.startswith(".") or name.lower() in SYSTEM


def visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())


def is_image(path: Path) -> bool:
    """Return whether a name is an image's."""
    return path.suffix.lower() in SUFFIXES and not is_hidden(path.name)


def list_classes(folder: Path) -> list[ClassFolder]:
    """Every class folder with the images in it and in the folders below, by name.

    Folders that are linked are followed, each once, unless they lead to another class or to a folder around all.

    Raises:
        RequestError: a class has a name that no file of results could hold, or two are the same folder.
    """
    folders = visible_folders(folder)
    for path in folders:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"the name of the folder {path.name!r} in {folder} is not UTF-8: rename it") from error
    real = {path.resolve(): path for path in reversed(folders)}
    for path in folders:
        if (other := real[path.resolve()]) != path:
            raise RequestError(f"the class folders {other.name} and {path.name} of {folder} are one: remove a link")
    taken = {folder.resolve(), *folder.resolve().parents, *real}
    return [_listed(path, taken - {path.resolve()}) for path in folders]


def stray_files(folder: Path, *, read: Iterable[str] = ()) -> Counter[str]:
    """Count, by kind, the files in a folder except those in its folders that are read."""
    found: Counter[str] = Counter()
    for path in folder.iterdir():
        if is_hidden(path.name):
            found[HIDDEN] += _num_files(path)
        elif path.name not in read:
            if path.is_dir():
                found[f"in {path.name}/"] += _num_files(path)
            else:
                found["outside of class folders" if is_image(path) else _kind(path)] += 1
    return found


def _listed(folder: Path, elsewhere: set[Path]) -> ClassFolder:
    images: list[Path] = []
    skipped: Counter[str] = Counter()
    folders, links, seen = deque([folder]), deque[Path](), set(elsewhere)
    while folders or links:
        current = folders.popleft() if folders else links.popleft()  # by their own names before by others
        real = current.resolve()
        if real in seen:
            skipped["links to folders that are read elsewhere"] += 1
            continue
        seen.add(real)
        with os.scandir(current) as entries:
            for entry in entries:
                path = Path(entry.path)
                if is_hidden(entry.name):
                    skipped[HIDDEN] += _num_files(path)
                elif path.is_dir() if entry.is_symlink() else entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif is_image(path):
                    images.append(path)
                else:
                    skipped[_kind(path)] += 1
        links = deque(sorted(links))
    return ClassFolder(name=folder.name, images=tuple(sorted(images)), skipped=skipped)


def _kind(path: Path) -> str:
    return path.suffix.lower() or "without a suffix"


def _num_files(path: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(path)) if path.is_dir() else 1
