"""`hwnas lut adapt --from`: a table of a new device from several known ones and a few networks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Outcome, kill_when, num_lines, run_cli, start_cli
from samples import synthetic_table
from scipy.stats import spearmanr
from simulated_machine import ZEN1, random_machine
from simulated_table import simulated_table
from simulated_worker import write_devices

from hwnas.config import TrustConfig
from hwnas.trust import doubts, require_own_certificate
from lut import LatencyModel, LatencyTable, load_table, save_table
from lut.build import finished
from lut.table import block_keys
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=16, in_channels=1, num_classes=10, width=0.25)
SPACE = make_space(SPEC)
NEW = replace(random_machine(4), noise=0.005)
MEASURED = ("--networks", 10, "--held-out", 8, "--rounds", 20, "--quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of three machines, one of another space, and a devices file with a machine that none of them is of."""
    path = tmp_path_factory.mktemp("adapt")
    for name, machine in (("a", ZEN1), ("b", random_machine(1)), ("c", random_machine(2))):
        save_table(finished(simulated_table(machine, SPACE, num_networks=30), SPACE), path / f"{name}.json")
    save_table(synthetic_table(make_space(replace(SPEC, input_size=8))), path / "other.json")
    table = synthetic_table(SPACE)
    save_table(replace(table, entries=table.entries[1:]), path / "partial.json")
    shutil.copy(path / "a.json", path / "copy.json")
    save_table(replace(load_table(path / "a.json"), certificate=None), path / "uncertified.json")
    write_devices(path / "devices.yaml", new=NEW)
    return path


def _adapt(folder: Path, *arguments: object) -> Outcome:
    return run_cli("lut", "adapt", *arguments, "--device", "new", "--devices", folder / "devices.yaml")


def _from(folder: Path, *names: str) -> tuple[object, ...]:
    return ("--from", *(folder / f"{name}.json" for name in names))


@pytest.fixture(scope="module")
def adapted(very_short_runs: None, folder: Path) -> LatencyTable:
    outcome = _adapt(folder, *_from(folder, "a", "b", "c"), *MEASURED, "-o", folder / "new.json")
    assert outcome.code == 0, outcome
    return load_table(folder / "new.json")


def test_the_table_is_one_like_any_other(folder: Path, adapted: LatencyTable) -> None:
    assert adapted.is_adapted and not adapted.entries
    assert {r.key for r in adapted.reported} == set(block_keys(SPACE))
    assert [sum(n.role == role for n in adapted.networks) for role in ("calibration", "held_out")] == [10, 8]
    require_own_certificate(adapted, SPACE, name="new.json")
    assert doubts(adapted, TrustConfig()) is None
    refit = run_cli("lut", "refit", folder / "new.json", "-o", folder / "again.json")
    assert refit.code == 0 and load_table(folder / "again.json").certificate == adapted.certificate
    assert not (folder / "new.json.journal").exists()


def test_its_predictions_are_those_of_the_new_machine(adapted: LatencyTable) -> None:
    whole = finished(simulated_table(replace(NEW, noise=1e-6), SPACE, num_networks=60, seed=9), SPACE)
    rows = np.array([n.architecture for n in whole.networks])
    truth = np.array([whole.estimates_ms[n.measurement.key] for n in whole.networks])
    predicted = LatencyModel(SPACE, adapted).predict_ms(rows)
    assert spearmanr(predicted, truth).statistic > 0.93
    assert np.abs(predicted / truth - 1).mean() < 0.1


def test_show_says_what_it_is_and_from_which_tables(folder: Path, adapted: LatencyTable) -> None:
    shown = run_cli("lut", "show", folder / "new.json").out
    assert adapted.certificate is not None
    assert "adapted by 10 networks that a model of 3 tables chose from cpu, 1 threads, fp32, 2026-01-01" in shown
    assert shown.count("cpu, 1 threads, fp32, 2026-01-01") == 3
    assert "8 held-out networks predicted with" in shown


def test_without_networks_held_out_it_says_that_it_is_not_certified(folder: Path) -> None:
    flags = ("--networks", 10, "--held-out", 0, "--rounds", 10, "--quiet", "-o", folder / "bare.json")
    outcome = _adapt(folder, *_from(folder, "a"), *flags)
    assert outcome.code == 0, outcome
    assert "not certified: no network was held out; --held-out 10 measures some" in outcome.out
    table = load_table(folder / "bare.json")
    assert table.certificate is None
    assert "has no certificate" in str(doubts(table, TrustConfig()))
    assert "a model of 1 table chose" in run_cli("lut", "show", folder / "bare.json").out
    LatencyModel(SPACE, table)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("a", "other"),
            ("expected tables of one space, found", "other.json of nasbench-macro", "leave one of the two"),
        ),
        (("a", "partial"), ("no latency for", "partial.json (1 of 17 blocks; never measured)")),
        (("a", "a"), ("was given twice; leave one of the two out",)),
        (("b", "a", "copy"), ("found the same latencies in", "a.json and", "copy.json: leave one of the two out")),
        (("a", "uncertified"), ("found the same latencies in", "uncertified.json: leave one of the two out")),
        (("absent",), ("cannot read the latency table",)),
    ],
)
def test_a_source_that_does_not_fit_is_refused(folder: Path, names: tuple[str, ...], words: tuple[str, ...]) -> None:
    outcome = _adapt(folder, *_from(folder, *names), *MEASURED, "-o", folder / "refused.json")
    assert outcome.code == 2 and all(word in outcome.err for word in words), outcome
    assert not (folder / "refused.json").exists()


def test_no_table_and_flags_for_several_beside_one_are_refused(folder: Path) -> None:
    nothing = _adapt(folder, "-o", folder / "refused.json")
    assert nothing.code == 2 and "expected a table to adapt, found none" in nothing.err
    one = _adapt(folder, folder / "a.json", "--held-out", 4, "-o", folder / "refused.json")
    assert one.code == 2 and "--held-out: expected no single table without --from" in one.err


def test_no_file_that_is_there_is_written_over(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    for name in ("a.json", "b.json", "notes.txt"):
        before = (folder / name).read_bytes()
        for tables in (_from(folder, "a"), [folder / "a.json"]):
            outcome = _adapt(folder, *tables, "-o", folder / name, "--quiet")
            assert outcome.code == 2 and f"{name} is there already; give another file with -o" in outcome.err
        assert (folder / name).read_bytes() == before


def test_a_table_without_a_certificate_is_warned_of(folder: Path) -> None:
    too_many = ("--networks", 2000, "-o", folder / "refused.json")  # so that nothing is measured
    outcome = _adapt(folder, *_from(folder, "b", "uncertified"), *too_many, "--quiet")
    assert "uncertified.json has no certificate: nobody knows how wrong its predictions are; hwnas lut refit" in (
        outcome.err
    )
    assert outcome.err.count("has no certificate") == 1


def test_another_space_than_the_tables_is_refused(folder: Path) -> None:
    outcome = _adapt(folder, *_from(folder, "a", "b"), "--space", "fbnet-s", "-o", folder / "refused.json")
    assert outcome.code == 2 and "a.json is of nasbench-macro, --space is fbnet-s: leave it out" in outcome.err


def test_one_held_out_network_certifies_nothing(folder: Path) -> None:
    outcome = _adapt(folder, *_from(folder, "a"), "--held-out", 1, "-o", folder / "refused.json")
    assert outcome.code == 2 and "give 2 or more, or 0 for no certificate" in outcome.err, outcome


def test_more_networks_than_a_space_has_are_refused(folder: Path) -> None:
    outcome = _adapt(folder, *_from(folder, "a"), "--networks", 2000, "-o", folder / "refused.json")
    assert outcome.code == 2 and "expected 2010 networks that differ" in outcome.err and "give fewer" in outcome.err


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was(folder: Path, adapted: LatencyTable) -> None:
    output = folder / "killed.json"
    where = ("--device", "new", "--devices", folder / "devices.yaml", "-o", output)
    command = ("lut", "adapt", *_from(folder, "a", "b", "c"), *MEASURED, "--rounds", 60, *where)
    journal = folder / "killed.json.journal"
    kill_when(start_cli(*command), lambda: num_lines(journal) >= 6)
    assert num_lines(journal) >= 6 and not output.exists()
    assert run_cli(*command).code == 0
    table = load_table(output)
    assert table.certificate is not None and not journal.exists()
    assert [n.architecture for n in table.networks] == [n.architecture for n in adapted.networks]
