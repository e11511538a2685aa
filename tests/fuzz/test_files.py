"""Files of every kind, damaged and distorted: what is read ends in what was there or in our own errors."""

from __future__ import annotations

import os
import resource
import time
import traceback
from collections import Counter
from functools import cache
from itertools import count
from pathlib import Path
from random import Random

import pytest
from fuzzed_kinds import KINDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = 10
"""No case takes as long."""

MEGABYTES = 1000
"""No case takes as much memory beyond what the process has."""

EXAMPLES = 40
"""Of a kind in the default suite."""


@cache
def _seeds(kind: str, folder: Path) -> dict[str, bytes]:
    """The files of an undamaged example, by their paths in its folder."""
    place = folder / f"seed-{kind}"
    place.mkdir()
    KINDS[kind].make(place)
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _try(name: str, random: Random, base: Path, tried: Counter[tuple[str, str]]) -> None:
    """Read an example of which one file is changed; fail for whatever a reader may not do."""
    kind, seeds = KINDS[name], _seeds(name, base)
    folder = base / f"{name}-{sum(tried.values())}"
    target = random.choice(list(seeds))
    for path, content in seeds.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(kind.change(content, random) if path == target else content)
    before, started, memory = _tree(folder), time.monotonic(), _peak_mb()
    try:
        found = kind.read(folder)
    except kind.errors as error:
        end = "refused"
        assert str(error) and len(str(error)) < 5000
    else:
        end = "read"
        assert not kind.is_sealed or found == kind.read(base / f"seed-{name}"), f"a change in {target} went unnoticed"
    tried[name, end] += 1
    assert time.monotonic() - started < SECONDS
    assert _peak_mb() - memory < MEGABYTES
    assert _tree(folder) == before and not list(Path.cwd().iterdir()), "reading wrote something"
    for path in seeds:
        (folder / path).unlink()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the examples."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, in which nothing may appear."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_undamaged_files_are_read(name: str, base: Path) -> None:
    _seeds(name, base)
    KINDS[name].read(base / f"seed-{name}")


@pytest.mark.parametrize("name", KINDS)
@given(random=st.randoms(use_true_random=False))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_changed_files_are_read_or_refused(
    name: str, random: Random, base: Path, tried: Counter[tuple[str, str]]
) -> None:
    _try(name, random, base, tried)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_for_as_long_as_asked(base: Path, tried: Counter[tuple[str, str]], fuzz_seconds: float) -> None:
    """Every failure is named with what makes it again: `Random(f"{kind}{seed}")`."""
    deadline, first = time.monotonic() + fuzz_seconds, int.from_bytes(os.urandom(4))
    failures: dict[str, str] = {}
    for seed in count(first):
        for name in KINDS:
            if time.monotonic() > deadline:
                assert not failures, "\n".join(failures.values())
                return
            try:
                _try(name, Random(f"{name}{seed}"), base, tried)
            except Exception as error:
                tried[name, "FAILED"] += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{name}: {type(error).__name__} at {last.filename}:{last.lineno}"
                failures.setdefault(place, f"{place}, seed {seed}: {str(error)[:300]}")
