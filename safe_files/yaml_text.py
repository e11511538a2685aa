"""YAML as people mean it: version 1.2's booleans and numbers, no key twice, nothing endless.

The version 1.1 that pyyaml speaks by itself reads the word `no` as false, 1:30 as 90, 010 as 8 and 2026-13-01 as a date
that cannot be; here they are texts, 10, and a text. Booleans are only true and false.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from safe_files.errors import FileError
from safe_files.reading import read_text, require_shallow

MAX_YAML_BYTES = 1 << 20
"""Largest YAML file; the longest of our own has 12 KB."""

MAX_NODES = 200_000
"""Values of a document with every alias written out: ten short lines of aliases can stand for a thousand million."""

_TAG = "tag:yaml.org,2002:"

_SCALARS = {
    f"{_TAG}bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    f"{_TAG}int": (re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), "-+0123456789"),
    f"{_TAG}float": (
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        "-+.0123456789",
    ),
    f"{_TAG}null": (re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
    f"{_TAG}merge": (re.compile(r"<<"), "<"),
}
"""Pattern and first characters of the plain scalars of YAML 1.2's core schema, https://yaml.org/spec/1.2.2, and of the
merge key, without which anchors are of little use; what matches none is a text."""

_OTHERS = (f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map")


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        FileError: it cannot be read, is too long, or `parse_yaml` refuses it.
    """
    text = read_text(path, max_bytes=MAX_YAML_BYTES)
    try:
        return parse_yaml(text)
    except FileError as error:
        raise FileError(f"{path} is not YAML: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return what a YAML document says.

    Raises:
        FileError: it is not YAML, has a key twice, an integer of thousands of digits, or is too deep or too long with
            its aliases written out.
    """
    try:
        loader = _Loader(text)
        try:
            content = loader.get_single_data()
        finally:
            loader.dispose()
        require_shallow(content)
    except (yaml.YAMLError, ValueError) as error:
        raise FileError(str(error)) from error
    except RecursionError as error:
        raise FileError("expected a few levels within each other, found hundreds") from error
    return content


def dump_yaml(content: object) -> str:
    """Return a YAML text that `parse_yaml` reads as the same content, keys in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    """Safe, by YAML 1.2's scalars."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as the base class has it

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            self._require_sound(node, {})
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        if len(text) > 100:
            raise ConstructorError(None, None, f"expected a number, found {len(text)} digits", node.start_mark)
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = self.construct_scalar(node).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def _require_sound(self, node: yaml.Node, known: dict[yaml.Node, int]) -> int:
        """Return the number of a node's values with aliases written out; raise for a key twice and for too many."""
        if node not in known:
            _require_known_tag(node)
            known[node] = MAX_NODES  # until it is known: a node within itself is endless
            inner = node.value if isinstance(node, yaml.SequenceNode) else []
            if isinstance(node, yaml.MappingNode):
                _require_distinct_keys(node)
                inner = [part for pair in node.value for part in pair]
            known[node] = 1 + sum(self._require_sound(part, known) for part in inner)
        if known[node] > MAX_NODES:
            raise ConstructorError(
                None, None, f"expected at most {MAX_NODES:,} values with aliases written out", node.start_mark
            )
        return known[node]


def _require_known_tag(node: yaml.Node) -> None:
    pattern, _ = _SCALARS.get(node.tag, (None, ""))
    is_scalar = isinstance(node, yaml.ScalarNode)
    if not (is_scalar and pattern.fullmatch(node.value) if pattern else node.tag in _OTHERS):
        found = f" {node.value[:40]!r}" if is_scalar else ""
        raise ConstructorError(
            None, None, f"expected a text, number, boolean, list or mapping, found {node.tag}{found}", node.start_mark
        )


def _require_distinct_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConstructorError(None, None, "expected a word or a number as a key", key.start_mark)
        if (key.tag, key.value) in seen:
            raise ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
        seen.add((key.tag, key.value))


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would not read as a text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as the base class has it

    def ignore_aliases(self, data: object) -> bool:
        return True


for _class in (_Loader, _Dumper):
    for _tag, (_pattern, _first) in _SCALARS.items():
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern.pattern})$"), _first)
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_yaml_float)
