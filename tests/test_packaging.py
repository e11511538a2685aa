"""What others read of the project without running it: the Dockerfile, the license, the citation, the versions."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def _instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with what follows them, comments left out and long lines put together."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = [re.fullmatch(r"([A-Z]+) (.+)", line) for line in lines]
    assert all(found), f"not an instruction: {[line for line, one in zip(lines, found, strict=True) if not one]}"
    return [(one[1], one[2]) for one in found if one]


def _of(kind: str) -> list[str]:
    return [rest for instruction, rest in _instructions() if instruction == kind]


def test_the_image_is_built_on_a_python_that_the_project_supports() -> None:
    assert _instructions()[0][0] == "FROM" and len(_of("FROM")) == 1
    tag = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", _of("FROM")[0])
    assert tag, "expected a python with its version and its Debian, so that the image does not change by itself"
    assert Version(tag[1]) in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {tag[1]}" in PROJECT["classifiers"]


def test_the_image_holds_all_that_the_wheel_is_built_of() -> None:
    copied = {source for rest in _of("COPY") for source in shlex.split(rest)[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        PROJECT["readme"],
        *PROJECT["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }
    assert needed <= copied
    assert not _of("ADD"), "COPY alone: ADD would fetch addresses and unpack archives"


def test_what_the_image_installs_is_pinned() -> None:
    installed = [rest for rest in _of("RUN") if "pip install" in rest]
    assert len(installed) == 2
    assert all("constraints.txt" in rest and "--no-cache-dir" in rest for rest in installed)
    assert "-c constraints.txt" in installed[-1]


def test_the_image_runs_hwnas_and_not_as_root() -> None:
    kinds = [kind for kind, _ in _instructions()]
    assert _of("USER") == ["hwnas"] and "RUN" not in kinds[kinds.index("USER") :]
    assert any("useradd" in rest and " hwnas" in rest for rest in _of("RUN"))
    assert [json.loads(rest) for rest in (*_of("ENTRYPOINT"), *_of("CMD"))] == [["hwnas"], ["--help"]]
    assert not any("sudo" in rest for rest in _of("RUN"))


def test_license_and_citation_agree_with_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in license_text and "Version 2.0, January 2004" in license_text
    assert "END OF TERMS AND CONDITIONS" in license_text


def test_every_dependency_has_a_tested_version() -> None:
    """Those of the package itself and of the documentation; some of the other extras are for other machines."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name.lower(): Version(version) for name, _, version in (x.partition("==") for x in lines if "==" in x)}
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["docs"]):
        wanted = Requirement(text)
        assert pinned[wanted.name.lower()] in wanted.specifier, text


def test_badges_say_what_is_so() -> None:
    """Nothing else than what these files say is claimed by a badge; none is fetched from elsewhere."""
    pythons = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert PYPROJECT["tool"]["mypy"]["strict"] is True
    said = {
        "license": f"license: {PROJECT['license']}",
        "python": f"python: {', '.join(pythons)}",
        "types": "types: mypy, strict",
    }
    badges = {path.stem.removeprefix("badge-"): path for path in (ROOT / "docs").glob("badge-*.svg")}
    assert badges.keys() == said.keys()
    for name, path in badges.items():
        assert f'aria-label="{said[name]}"' in path.read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"!\[.+?\]\((.+?)\)", readme)) == {
        *(f"docs/{path.name}" for path in badges.values()),
        "docs/front.png",
        "docs/report.png",
    }
