"""Tables that are measured on, and the models of a table that tell how fast the machine is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from paced_machine import PacedMachine
from samples import bare_table, measured_again, small_spec

from lut import LatencyTable, build_table, load_table, plan_table
from lut.build import journal_beside
from lut.extend import _better, extend_table, extension_beside, extension_plan, forget_extensions
from lut.references import References, choose_references, is_plausible, spread_blocks
from profilers import Model, Profiler
from profilers.device import find_device
from search_spaces import make_space

SPACE = make_space(small_spec("nasbench-macro", input_size=8))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[LatencyTable, Path]:
    """A small table of a machine on which graphs take what no sum foresees, and its folder."""
    folder = tmp_path_factory.mktemp("made")
    device = find_device("paced", PacedMachine(folder, luck=0.4).devices)
    plan = plan_table(SPACE, rounds=20, num_networks=10)
    profiler = Profiler(device=device, rounds=20)
    return build_table(SPACE, folder / "t.json", plan, profiler=profiler, onnx_folder=folder), folder


def _profiler(folder: Path, **settings: object) -> Profiler:
    return replace(Profiler(device=find_device("paced", folder / "devices.yaml"), rounds=20), **settings)


def test_an_extension_joins_the_table_and_is_not_made_twice(made: tuple[LatencyTable, Path], tmp_path: Path) -> None:
    table, folder = made
    path = tmp_path / "t.json"
    plan = extension_plan(table, SPACE, num_networks=8, seed=1)
    assert plan is not None and {n.role for n in plan.networks[len(table.networks) :]} == {"calibration"}
    assert len(plan.networks) > len(table.networks)

    def interrupted(phase: str, done: int, _total: int) -> None:
        if (phase, done) == ("round", 7):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        extend_table(table, SPACE, path, plan, profiler=_profiler(folder, on_progress=interrupted), onnx_folder=folder)
    journal = journal_beside(extension_beside(path, seed=1))
    assert journal.read_text().count("\n") == 8 and not path.exists()
    extended = extend_table(table, SPACE, path, plan, profiler=_profiler(folder), onnx_folder=folder)
    assert not journal.exists()
    assert extended == load_table(path) != table
    assert len(extended.networks) == len(plan.networks)
    shared = extended.networks[0].measurement
    assert shared.num_samples == 2 * table.networks[0].measurement.num_samples
    assert all(m.num_samples == 40 for m in extended.entries)
    assert extended.calibration is not None and extended.calibration.num_networks > 4
    assert extension_plan(extended, SPACE, num_networks=8, seed=1) is None
    journal.touch()
    forget_extensions(path)
    assert not journal.exists() and path.exists()


def test_the_worse_of_two_tables_is_not_kept(made: tuple[LatencyTable, Path]) -> None:
    table, _ = made
    assert table.certificate is not None
    lucky = replace(table, certificate=replace(table.certificate, within_10pct=1.0))
    again = measured_again(table)
    assert _better(lucky, again, SPACE) is lucky
    assert len(_better(replace(table, certificate=None), again, SPACE).networks) == len(table.networks)


def test_drift_is_that_of_networks_near_the_budget_else_of_blocks(
    made: tuple[LatencyTable, Path], tmp_path: Path
) -> None:
    table, folder = made
    ranked = sorted((table.estimates_ms[n.measurement.key], n.measurement.key) for n in table.networks)
    near_ms = ranked[0][0]
    references = choose_references(table, SPACE, folder, near_ms=near_ms, num_networks=3)
    assert len(references.blocks) == 6 and len(references.networks) == 3
    assert ranked[0][1] in references.then_ms and ranked[-1][1] not in references.then_ms
    now = {
        key: (1.2 if "(" in key and key.startswith(("held", "cal")) else 2.0) * ms
        for key, ms in references.then_ms.items()
    }
    assert references.drift(now) == pytest.approx(1.2)
    assert replace(references, networks=()).drift(now) == pytest.approx(2.0)
    assert references.drift({}) is None and References().drift(now) is None
    imported = bare_table(SPACE)
    keys = spread_blocks(imported, 4)
    ordered = sorted(imported.latency_ms, key=lambda key: imported.latency_ms[key])
    assert {ordered[0], ordered[-1]} < keys and len(keys) == 4
    unmeasured = replace(imported, entries=())
    assert choose_references(unmeasured, SPACE, tmp_path, near_ms=1.0) == References()
    assert [is_plausible(x) for x in (0.2, 0.3, 1.0, 3.9, 4.1)] == [False, True, True, True, False]
    assert all(isinstance(m, Model) and m.path.is_file() for m in references.models)
