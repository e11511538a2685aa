"""`benchmarks/few_shot.py` on folders of any devices' latencies."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("few_shot")


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
    choices = np.random.default_rng(0).permutation(np.indices((3, 3, 3, 3)).reshape(4, -1).T)[:30]
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", architectures=choices, latency_ms=1.0 + choices.sum(axis=1))
    networks, latency_ms = benchmark.read_folder(tmp_path)
    assert len(networks) == 30 and set(latency_ms) == {"a", "b"}
    assert benchmark.as_choices(networks).shape == (len(networks), 4)
    assert benchmark.as_choices(["a b", "a b c"]) is None


def test_of_a_network_that_is_there_several_times_the_median_counts(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"n{number}" for number in range(20)]
    np.savez(tmp_path / "a.npz", architectures=[*names, "n0", "n0"], latency_ms=[*range(1, 21), 9, 7])
    np.savez(tmp_path / "b.npz", architectures=names, latency_ms=range(1, 21))
    networks, latency_ms = benchmark.read_folder(tmp_path)
    assert len(networks) == 20 and latency_ms["a"][networks.index("n0")] == 7
    assert "a.npz: 1 networks are there several times: medians count (n0)" in capsys.readouterr().err


def _damaged(folder: Path) -> None:
    """Damage the first compressed array of an npz file: zlib cannot read on."""
    np.savez_compressed(folder / "gpu.npz", architectures=np.arange(1000).astype(str), latency_ms=np.ones(1000))
    content = bytearray((folder / "gpu.npz").read_bytes())
    content[200:400] = b"\xff" * 200
    (folder / "gpu.npz").write_bytes(content)


def _one_array(folder: Path) -> None:
    with (folder / "gpu.npz").open("wb") as file:
        np.save(file, np.arange(3))


def _csv(*rows: str) -> Callable[[Path], object]:
    text = "\n".join(("architecture,latency_ms", *rows))
    return lambda folder: (folder / "cpu.csv").write_text(f"{text}\n")


def _npz(**arrays: object) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / "gpu.npz", **{name: np.asarray(a) for name, a in arrays.items()})


NO_ARRAYS = "expected arrays architectures and latency_ms in"


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda folder: (folder / "gpu.npz").write_bytes(b"no"), NO_ARRAYS),
        (lambda folder: (folder / "gpu.npz").write_bytes(b""), NO_ARRAYS),
        (_one_array, NO_ARRAYS),
        (_damaged, NO_ARRAYS),
        (_npz(architectures=["a"], latency_ms=[1 + 2j]), "found latencies of complex128, expected real numbers"),
        (_npz(architectures=["a"], latency_ms=["fast"]), "expected real numbers"),
        (_npz(architectures=["a"], latency_ms=[True]), "found latencies of bool"),
        (_npz(architectures=["a"], latency_ms=[1.0, 2.0]), "a latency for each"),
        (lambda folder: (folder / "cpu.csv").write_text("a,b\n1,2\n"), "expected columns architecture and latency_ms"),
        (_csv("x,1,2"), "cpu.csv, line 2: expected as many values as columns, found more; quote texts"),
        (_csv("x,1", "y,fast"), "cpu.csv, line 3: expected a number in latency_ms, found 'fast'"),
        (_csv("x,1", "y"), "cpu.csv, line 3: expected a number in latency_ms, found None"),
        (_csv("x,1"), "latency above zero of, found 0; cpu.csv has 'x', gpu.npz has '|op"),
        (_csv("x,0"), "cpu.csv has None, gpu.npz has '|op"),
        (lambda folder: [(folder / name).unlink() for name in ("gpu.npz", "cpu.csv")], "found 1 files"),
        (lambda folder: (folder / "gpu.CSV").touch(), "found gpu.CSV and gpu.npz: leave one out"),
    ],
)
def test_what_is_no_such_folder_is_said_in_a_line(
    benchmark: ModuleType,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoilt: Callable[[Path], object],
    words: str,
) -> None:
    spoilt(folder)
    assert words in _refused(benchmark, monkeypatch, capsys, "--sources", folder)


def _refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> str:
    """Return what is said of arguments that end the program with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        _main(benchmark, monkeypatch, *arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_wrong_arguments_are_refused_before_any_work(
    benchmark: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def untouched(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(benchmark, "evaluated", untouched)
    for given, words in (
        (("--target", "tpu"), "there is no device 'tpu'; expected some of cpu, gpu"),
        (("--target", "gpu,cpu,phone"), "is no target"),
        (("--networks", 5, 57), "expected --networks of 56 at most, which 118 networks leave to choose from, found 57"),
        (("--json", folder / "absent" / "x.json"), "expected a file in a folder that is there"),
    ):
        assert words in _refused(benchmark, monkeypatch, capsys, "--sources", folder, *given)


def test_a_target_that_is_named_twice_is_no_known_device(
    benchmark: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for targets in ("gpu,phone", "gpu,phone,phone"):
        out = folder / "out.json"
        _main(
            benchmark,
            monkeypatch,
            "--sources",
            folder,
            "--target",
            targets,
            "--networks",
            5,
            5,
            "--seeds",
            1,
            "--json",
            out,
        )
        found[targets] = json.loads(out.read_text())
    assert found["gpu,phone"] == found["gpu,phone,phone"]
    assert all(len(figures["5"]) == 1 for figures in found["gpu,phone"].values())


def test_a_small_folder_lowers_the_usual_numbers_and_says_so(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = np.array([f"n{i}" for i in range(30)])
    for device in ("a", "b"):
        np.savez(tmp_path / f"{device}.npz", architectures=names, latency_ms=np.arange(1.0, 31))
    _main(benchmark, monkeypatch, "--sources", tmp_path, "--seeds", 1)
    printed = capsys.readouterr()
    assert "10 networks     14 networks" in printed.out
    assert "30 networks leave 14 to choose from: at most 14 are measured" in printed.err


def test_files_are_read_as_spreadsheets_write_them(benchmark: ModuleType, tmp_path: Path) -> None:
    """With a byte order mark, quotes around commas, and the suffix in capitals; npz texts of bytes."""
    rows = "".join(f'"n,{i}",{i + 1}.5\n' for i in range(25))
    (tmp_path / "a.CSV").write_text(f"architecture,latency_ms\n{rows}", encoding="utf-8-sig")
    names = np.array([f"n,{i}" for i in range(25)]).astype("S")
    np.savez(tmp_path / "b.npz", architectures=names, latency_ms=np.arange(1, 26))
    networks, latency_ms = benchmark.read_folder(tmp_path)
    assert networks[:2] == ["n,0", "n,1"] and latency_ms["a"][1] == 2.5 and latency_ms["b"][1] == 2.0


def test_devices_without_ranks_are_refused(benchmark: ModuleType, tmp_path: Path) -> None:
    names = np.array([f"n{i}" for i in range(30)])
    latency_ms = {"a": np.arange(1.0, 31), "b": np.full(30, 2.0)}
    for device, values in latency_ms.items():
        np.savez(tmp_path / f"{device}.npz", architectures=names, latency_ms=values)
    with pytest.raises(benchmark.SourcesError, match=r"differ in .*b.npz, found 2 ms for all 30 common networks"):
        benchmark.read_folder(tmp_path)
    latency_ms["b"][0] = 3.0  # among the slowest tenth, which is left out, or never held out
    with pytest.raises(benchmark.SourcesError, match="b, seed 0: expected latencies that differ"):
        benchmark.evaluated(names.tolist(), latency_ms, ["b"], numbers=[5], num_seeds=1)
