"""What the readers of files refuse, whatever is in the file or instead of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_files import FileError, dump_yaml, parse_json, parse_yaml, read_bytes, read_json, read_text, read_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
CONTENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
)


@given(content=CONTENTS)
def test_yaml_gives_back_what_was_dumped(content: object) -> None:
    assert parse_yaml(dump_yaml(content)) == content


@given(text=st.text() | st.text("[]{}:,&*a!-? \n#|>'\"<%@`0.", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text)
        except FileError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("010", 10),
        ("1:30", "1:30"),
        ("2026-13-01", "2026-13-01"),
        ("1e5", 1e5),
        ("0x1f", 31),
        ("~", None),
        ("1_000", "1_000"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_merge() -> None:
    assert parse_yaml("x-base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3}")["mine"] == {"a": 1, "b": 3}


LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(8 * [f'*{old}'])}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "the key 'a' is there twice.*line 2"),
        ("a: {b: 1, b: 1}", "the key 'b' is there twice"),
        ("[" * 5000, "levels within each other"),
        ("a: " + "9" * 5000, "5000 digits"),
        ("&a [*a]", "aliases written out"),
        (LAUGHS, "aliases written out"),
        ("!!python/object/apply:os.system [true]", "found tag:yaml.org,2002:python"),
        ("a: !!timestamp 2026-13-01", "timestamp"),
        ("a: !!bool maybe", "maybe"),
        ("? [a]\n: 1", "a word or a number as a key"),
        ("a: [", "expected the node content"),
    ],
)
def test_yaml_that_means_nothing_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=rf"(?s)x\.yaml is not YAML: .*{words}"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "levels"),
        ("[" * 101 + "]" * 101, "at most 100 levels"),
        ("9" * 5000, "digits"),
        ('{"a": NaN}', "NaN"),
        ("-Infinity", "Infinity"),
        ("1e999", "1e999"),
        ('{"a": 1', "delimiter"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
    ],
)
def test_json_that_means_nothing_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(FileError, match=rf"x\.json is not JSON: .*{words}"):
        read_json(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(FileError, match="cannot read"):
            read_bytes(path)


def test_files_that_are_too_long_or_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"\xff" * 101)
    with pytest.raises(FileError, match="at most 100 bytes, found 101"):
        read_bytes(path, max_bytes=100)
    with pytest.raises(FileError, match="not UTF-8"):
        read_text(path)
