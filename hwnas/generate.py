"""Starting points for parts of one's own."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from hwnas.errors import RequestError
from hwnas.parts import KINDS
from safe_files import raise_if_full, write_text


def generate(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a commented file that runs as it stands, and its test, into a folder.

    Args:
        kind: one of `KINDS`.
        name: letters, digits, `-` and `_`; the file is named after it, and the class or function in it.

    Returns:
        The file and its test.

    Raises:
        RequestError: there is no such kind, the name is no name, a file is there already, or none can be there.
        WriteError: there is no room.
    """
    if kind not in KINDS:
        raise RequestError(f"unknown kind of part {kind!r}; there are: {', '.join(KINDS)}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,60}", name):
        raise RequestError(f"a name begins with a letter and has letters, digits, - and _ only; got {name!r}")
    module = name.lower().replace("-", "_")
    is_function = kind in ("space", "dataflow")
    words = {
        "$CLASS": module if is_function else "".join(part.capitalize() for part in module.split("_")),
        "$FILE": f"{module}.py",
        "$MODULE": module,
        "$NAME": name,
    }
    path, test = folder / f"{module}.py", folder / f"test_{module}.py"
    if existing := [p for p in (path, test) if p.exists()]:
        raise RequestError(f"{existing[0]} is there already; give another name or --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, template in ((path, f"{kind}.py.txt"), (test, f"{kind}.test.txt")):
            text = (files("hwnas") / "templates" / template).read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            write_text(target, text)
    except OSError as error:
        raise_if_full(error, path)
        raise RequestError(f"cannot write to {folder}: {error.strerror}; give another --folder") from error
    return path, test
