"""Starting points for components of one's own."""

from __future__ import annotations

import io
import keyword
import re
import sys
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

from hwnas.components import KINDS
from hwnas.errors import RequestError
from safe_files import raise_if_full, write_text
from safe_files.code_trust import OWN_PACKAGES

MADE_BY_FUNCTIONS = ("space", "dataflow")
"""Kinds whose starting point is a function, which is named like its module; all others are classes."""

PYTEST_PREFIXES = ("test", "conftest")
"""Files, functions and classes so named are pytest's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentName:
    """The names in Python that follow from what a user calls a component.

    Attributes:
        given: by the user.
        module: of the file, such as `my_strategy` for MyStrategy, my-strategy and my_strategy.
        component: of the class, such as `MyStrategy`, or of the function, which is the module's.
    """

    given: str
    module: str
    component: str

    @classmethod
    def of(cls, kind: str, given: str) -> ComponentName:
        """Return the names for a component of a kind.

        Raises:
            RequestError: nothing in Python can have the name, or it is taken by what the component or its test needs.
        """
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,60}", given):
            raise RequestError(f"a name begins with a letter and has letters, digits, - and _ only; got {given!r}")
        words = [word for word in re.split("[-_]+", given) if word]
        module = "_".join(re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", word) for word in words)
        if given.isupper():
            words = [word.capitalize() for word in words]
        in_class = "".join(word[0].upper() + word[1:] for word in words)
        name = cls(
            given=given, module=module.lower(), component=module.lower() if kind in MADE_BY_FUNCTIONS else in_class
        )
        name._require_free()
        return name

    def _require_free(self) -> None:
        if keyword.iskeyword(self.module) or keyword.iskeyword(self.component):
            owner = "a keyword of Python"
        elif self.module.startswith(PYTEST_PREFIXES):
            owner = "a name by which pytest finds tests"
        elif self.module in sys.stdlib_module_names:
            owner = "a module of Python's standard library"
        elif self.module in OWN_PACKAGES or self.module in packages_distributions():
            owner = "an installed package"
        else:
            return
        raise RequestError(
            f"the name {self.given!r} is taken: {self.module} is {owner}; give another, such as my-{self.given}"
        )


def generate(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a commented file that runs as it stands, and its test, into a folder.

    Args:
        kind: one of `KINDS`.
        name: letters, digits, `-` and `_`; the file is named after it, and the class or function in it.

    Returns:
        The file and its test.

    Raises:
        RequestError: there is no such kind, the name is none or is taken, a file is there already, or none can be.
        WriteError: there is no room.
    """
    if kind not in KINDS:
        raise RequestError(f"unknown kind of component {kind!r}; there are: {', '.join(KINDS)}")
    named = ComponentName.of(kind, name)
    path, test = folder / f"{named.module}.py", folder / f"test_{named.module}.py"
    texts = {path: _template(f"{kind}.py.txt"), test: _template(f"{kind}.test.txt")}
    if named.component in {word for text in texts.values() for word in _words_of_code(text)}:
        raise RequestError(
            f"the name {name!r} is taken: the file uses {named.component} for something else; give another"
        )
    write_new({target: _filled_in(text, named) for target, text in texts.items()}, folder)
    return path, test


def write_new(texts: Mapping[Path, str], folder: Path) -> None:
    """Write files into a folder, which is made where it is not there yet.

    Raises:
        RequestError: one of them is there already, or none can be.
        WriteError: there is no room.
    """
    if existing := [path for path in texts if path.exists()]:
        raise RequestError(f"{existing[0]} is there already; give another name or --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            write_text(path, text)
    except OSError as error:
        raise_if_full(error, next(iter(texts)))
        raise RequestError(f"cannot write to {folder}: {error.strerror}; give another --folder") from error


def _template(name: str) -> str:
    return (files("hwnas") / "templates" / name).read_text(encoding="utf-8")


def _words_of_code(template: str) -> set[str]:
    """Return the words of a template's code; those of texts and comments are free."""
    tokens = tokenize.generate_tokens(io.StringIO(template.replace("$", "")).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def _filled_in(template: str, named: ComponentName) -> str:
    words = {"$CLASS": named.component, "$FILE": f"{named.module}.py", "$MODULE": named.module, "$NAME": named.given}
    for word, value in words.items():
        template = template.replace(word, value)
    return template
