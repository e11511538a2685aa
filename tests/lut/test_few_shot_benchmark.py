"""`benchmarks/few_shot.py` on folders of any devices' latencies."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("few_shot_benchmark", ROOT / "benchmarks" / "few_shot.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _main(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["few_shot.py", *map(str, arguments)])
    benchmark.main()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three devices on 120 networks, the second of which lacks one network, the third of which failed on another."""
    rng = np.random.default_rng(0)
    choices = rng.integers(0, 4, (120, 6))
    costs = rng.gamma(1.0, 1.0, (6, 4))
    names = [f"|{'|'.join(f'op{c}~{i}' for i, c in enumerate(row))}|" for row in choices]
    for device in ("gpu", "cpu", "phone"):
        own = costs * np.exp(0.3 * rng.standard_normal(costs.shape))
        ms = 1 + np.take_along_axis(own.T, choices, axis=0).sum(axis=1)
        if device == "phone":
            ms[7] = np.nan
        if device == "cpu":
            rows = "".join(f"{name},{value}\n" for name, value in zip(names[1:], ms[1:], strict=True))
            (tmp_path / "cpu.csv").write_text(f"architecture,latency_ms\n{rows}")
        else:
            np.savez(tmp_path / f"{device}.npz", architectures=np.array(names), latency_ms=ms)
    return tmp_path


def test_each_device_in_turn_is_new(
    benchmark: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "figures" / "out.json"
    out.parent.mkdir()
    _main(benchmark, monkeypatch, "--sources", folder, "--networks", 5, 15, "--seeds", 2, "--json", out)
    printed = capsys.readouterr().out
    assert printed.startswith("118 networks on 3 devices, 2 seeds: mean Spearman correlation")
    found = json.loads(out.read_text())
    assert set(found) == {"gpu", "cpu", "phone"} and all(len(found["gpu"][number]) == 2 for number in ("5", "15"))
    mean = np.mean([np.mean(by_number["15"]) for by_number in found.values()])
    assert printed.splitlines()[-1].split() == ["mean", printed.splitlines()[-1].split()[1], f"{mean:.3f}"]
    assert mean > 0.9


def test_targets_are_not_among_the_known(
    benchmark: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    class Watched(benchmark.KnownNetworks):  # type: ignore[name-defined,misc]
        def __post_init__(self) -> None:
            super().__post_init__()
            seen.append(self.source_ms.shape[1])

    monkeypatch.setattr(benchmark, "KnownNetworks", Watched)
    _main(benchmark, monkeypatch, "--sources", folder, "--target", "gpu,phone", "--networks", 5, "--seeds", 1)
    assert seen == [1, 1] and "cpu" not in capsys.readouterr().out


def test_rows_of_choices_are_networks_too(benchmark: ModuleType, tmp_path: Path) -> None:
    choices = np.random.default_rng(0).integers(0, 3, (30, 4))
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", architectures=choices, latency_ms=1.0 + choices.sum(axis=1))
    networks, latency_ms = benchmark.read_folder(tmp_path)
    assert len(networks) == len({tuple(row) for row in choices}) and set(latency_ms) == {"a", "b"}
    assert benchmark.as_choices(networks).shape == (len(networks), 4)
    assert benchmark.as_choices(["a b", "a b c"]) is None


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda folder: (folder / "gpu.npz").write_bytes(b"no"), "expected arrays architectures and latency_ms in"),
        (lambda folder: (folder / "cpu.csv").write_text("a,b\n1,2\n"), "expected columns architecture and latency_ms"),
        (lambda folder: (folder / "cpu.csv").write_text("architecture,latency_ms\nx,1\n"), "all 3 devices have, found"),
        (lambda folder: [(folder / name).unlink() for name in ("gpu.npz", "cpu.csv")], "found 1 files"),
        (lambda folder: np.savez(folder / "gpu.npz", architectures=["a"], latency_ms=[1.0, 2.0]), "a latency for each"),
    ],
)
def test_what_is_no_such_folder_is_said_in_a_line(
    benchmark: ModuleType,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoilt: object,
    words: str,
) -> None:
    spoilt(folder)  # type: ignore[operator]
    with pytest.raises(SystemExit):
        _main(benchmark, monkeypatch, "--sources", folder)
    assert words in capsys.readouterr().err


def test_an_unknown_target_is_refused(
    benchmark: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for target, words in (("tpu", "there is no tpu; expected some of cpu, gpu"), ("gpu,cpu,phone", "is no target")):
        with pytest.raises(SystemExit):
            _main(benchmark, monkeypatch, "--sources", folder, "--target", target)
        assert words in capsys.readouterr().err
