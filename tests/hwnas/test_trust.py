"""Which tables are good enough, and what is said of those that are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Outcome, run_cli
from samples import bare_table, synthetic_table

from hwnas.config import TrustConfig
from hwnas.errors import RequestError
from hwnas.trust import describe_certificate, doubts, require_own_certificate, require_trust, shortfall
from lut import LatencyModel, LatencyTable, load_table, save_table
from lut.build import certificate_of, finished
from lut.networks import NetworkMeasurement
from profilers import Measurement
from profilers.pace import Pace
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=3, num_classes=10, width=0.25)
SPACE = make_space(SPEC)
GOOD = synthetic_table(SPACE)
assert GOOD.certificate is not None
ROUNDS = tuple(range(12))
SLOWED = replace(
    GOOD,
    pace=Pace(
        visits=ROUNDS, wall_ns=(1550,) * 12, cpu_ns=(1550,) * 12, after_wall_ns=(1000,) * 6, after_cpu_ns=(1000,) * 6
    ),
)
POOR = replace(GOOD, certificate=replace(GOOD.certificate, within_5pct=0.0, within_10pct=0.14, mape=0.3))
BARE = bare_table(SPACE)
EMULATED = replace(GOOD, provenance=replace(GOOD.provenance, is_emulated=True))
FAILED = replace(GOOD, entries=(Measurement(key=GOOD.entries[0].key, error="it crashed"), *GOOD.entries[1:]))


@pytest.mark.parametrize(
    ("table", "doubt", "remedy"),
    [
        (SLOWED, r"made while the machine was slowed by 5\d%: its milliseconds are not to be believed", "nothing else"),
        (POOR, r"predicts 14% of held-out networks within 10 %, expected at least 80%", "--networks 100"),
        (BARE, "has no certificate: nobody knows how wrong", "--networks 50"),
        (EMULATED, "made under an emulator", "the device itself"),
    ],
    ids=["slowed", "poor", "bare", "emulated"],
)
def test_tables_that_are_not_good_enough_are_refused_with_a_remedy(
    table: LatencyTable, doubt: str, remedy: str
) -> None:
    with pytest.raises(RequestError, match=rf"^t.json .*{doubt}.*{remedy}.*--accept-table"):
        require_trust(table, TrustConfig(), name="t.json")
    require_trust(table, TrustConfig(accept_any=True), name="t.json")
    assert doubts(table, TrustConfig(accept_any=True)) is not None, "doubts stay what they are"


def test_good_tables_raise_no_doubt() -> None:
    assert doubts(GOOD, TrustConfig()) is None and shortfall(GOOD, SPACE, name="t") is None
    require_trust(GOOD, TrustConfig(), name="t.json")
    assert doubts(POOR, TrustConfig(min_within_10pct=0.1)) is None


def test_a_table_that_is_not_believed_is_not_called_certified() -> None:
    assert describe_certificate(GOOD).startswith("latency table: 7 held-out networks predicted with 0.")
    assert describe_certificate(SLOWED).startswith("latency table: not certified: the machine was slowed by 5")
    assert "7 held-out networks" in describe_certificate(SLOWED)


FLAGS = ("profile", "--space", SPEC.name, "--input-size", 8, "--width", 0.25)


def _profile(table: LatencyTable, path: Path, *flags: object) -> Outcome:
    """What profiling says at its end of a table that is complete."""
    save_table(table, path)
    outcome = run_cli(*FLAGS, *flags, "-o", path)
    assert load_table(path) == table, "the file is kept"
    return outcome


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (SLOWED, ["not to be believed", "profile again with --fresh when nothing else runs"]),
        (POOR, ["predicts 14% of held-out networks within 10 %", "profile again with --fresh", "--networks 100"]),
        (BARE, ["has no certificate", "profile again with --fresh and --networks 50"]),
        (FAILED, [f"no latency for {FAILED.entries[0].key}", "1 of 17 blocks; it crashed", "--fresh"]),
    ],
    ids=["slowed", "poor", "bare", "failed"],
)
def test_profile_ends_with_what_is_wrong_and_what_to_do(table: LatencyTable, words: list[str], tmp_path: Path) -> None:
    outcome = _profile(table, tmp_path / "t.json")
    assert outcome.code == 1
    last = outcome.out.splitlines()[-1]
    assert last.startswith("not usable: ") and str(tmp_path / "t.json") in last
    for word in words:
        assert word in last


def test_profile_ends_well_with_usable_tables(tmp_path: Path) -> None:
    assert _profile(GOOD, tmp_path / "t.json").code == 0
    assert _profile(BARE, tmp_path / "t.json", "--networks", 0).code == 0
    assert _profile(EMULATED, tmp_path / "t.json").code == 0  # the device says so itself
    slowed = _profile(replace(SLOWED, certificate=None), tmp_path / "t.json", "--networks", 0)
    assert slowed.code == 1 and "not to be believed" in slowed.out.splitlines()[-1]


def test_the_fastest_and_the_slowest_network_are_shown(tmp_path: Path) -> None:
    model = LatencyModel(SPACE, GOOD)
    expected = {
        name: {"architecture": list(a), "predicted_ms": ms}
        for name, (a, ms) in (("fastest", model.extreme()), ("slowest", model.extreme(slowest=True)))
    }
    words = f"take {model.extreme()[1]:.3g} ms (the fastest) to {model.extreme(slowest=True)[1]:.3g} ms (the slowest)"
    assert words in _profile(GOOD, tmp_path / "t.json").out
    assert words in run_cli("lut", "show", tmp_path / "t.json").out
    assert json.loads(run_cli("lut", "show", tmp_path / "t.json", "--json").out)["extremes"] == expected


def test_tables_that_lack_something_are_shown_without_it(tmp_path: Path) -> None:
    own = replace(GOOD, space=replace(SPEC, name=str(tmp_path / "gone.py:Space")))
    for table in (FAILED, own, replace(GOOD, entries=())):
        save_table(table, tmp_path / "t.json")
        shown, described = (
            run_cli("lut", "show", tmp_path / "t.json"),
            run_cli("lut", "show", tmp_path / "t.json", "--json"),
        )
        assert (shown.code, described.code) == (0, 0), shown.err + described.err
        assert "nan" not in shown.out and "the fastest" not in shown.out
        assert "NaN" not in described.out and json.loads(described.out)["extremes"] is None
    save_table(SLOWED, tmp_path / "t.json")
    assert "not certified: the machine was slowed" in run_cli("lut", "show", tmp_path / "t.json").out
    about = json.loads(run_cli("lut", "show", tmp_path / "t.json", "--json").out)["slowdown"]
    assert about["is_believed"] is False and about["by"] == about["by_pace"] > 0.5


WORKER = """
import json, sys
def answer(command):
    if command["command"] == "start":
        return {"event": "started", "machine": "fake", "cores": [0]}
    if command["command"] == "open":
        return {"event": "opened", "index": command["index"]}
    if command["command"] == "pace":
        return {"event": "pace", "wall_ns": [200] * command["repeats"], "cpu_ns": [200] * command["repeats"]}
    times = [100_000 + 900_000 * (7 * index % 10) for index in command["order"]]
    return {"event": "round", "order": command["order"], "wall_ns": times, "cpu_ns": times, "pace": PACE}
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
"""


def _device(folder: Path, pace_ns: int) -> tuple[object, ...]:
    """A device whose times have nothing to do with the models, and whose pace is 200 ns when it rests."""
    (folder / "worker.py").write_text(WORKER.replace("PACE", str([pace_ns, pace_ns])))
    (folder / "devices.yaml").write_text(f"fake: {{runtime: {folder}/worker.py}}\n")
    return ("--device", "fake", "--devices", folder / "devices.yaml", "--quiet", "--trust-code")


def test_a_table_made_beside_a_neighbour_that_just_went_is_not_usable(tmp_path: Path) -> None:
    flags = (*FLAGS, "--networks", 0, "--rounds", 10, "-o", tmp_path / "t.json")
    for pace_ns, code in ((300, 1), (210, 0)):
        outcome = run_cli(*flags, *_device(tmp_path, pace_ns), "--fresh")
        assert outcome.code == code, outcome.err
        assert ("slowed by 50%" in outcome.out.splitlines()[-1]) == bool(code)
    table = load_table(tmp_path / "t.json")
    assert table.pace is not None and table.pace.wall_ns == (210,) * 10 and table.pace.after_wall_ns == (200,) * 6


def test_adapt_never_praises_a_table_that_is_off(tmp_path: Path) -> None:
    save_table(GOOD, tmp_path / "base.json")
    flags = ("--networks", 12, "--rounds", 4, "-o", tmp_path / "new.json", *_device(tmp_path, 200))
    outcome = run_cli("lut", "adapt", tmp_path / "base.json", *flags)
    assert outcome.code == 1, outcome.err
    certificate = load_table(tmp_path / "new.json").certificate
    assert certificate is not None and certificate.within_10pct < 0.5
    assert "little to gain" not in outcome.out
    last = outcome.out.splitlines()[-1]
    assert last.startswith("not usable: ") and last.endswith("profile this device whole, with hwnas profile")


def test_a_forged_certificate_over_good_samples_is_found_out(tmp_path: Path) -> None:
    assert GOOD.certificate is not None
    require_own_certificate(GOOD, SPACE, name="t.json")
    require_own_certificate(bare_table(SPACE), SPACE, name="t.json")
    forged = replace(GOOD, certificate=replace(GOOD.certificate, mape=GOOD.certificate.mape * 1.1))
    with pytest.raises(RequestError, match=r"not of its samples: it says 7 held-out .* hwnas lut refit t\.json"):
        require_own_certificate(forged, SPACE, name="t.json")
    spec = replace(SPEC, in_channels=1)
    table = synthetic_table(make_space(spec))
    save_table(replace(table, networks=_twice_as_slow(table)), tmp_path / "t.json")
    flags = ("--space", spec.name, "--width", spec.width, "--max-latency", "60%", "--quiet", "--out", tmp_path / "run")
    outcome = run_cli("train", "--data", "digits", *flags, "--lut", tmp_path / "t.json")
    assert outcome.code == 2 and "not of its samples" in outcome.err, outcome.err


def _calibrated(**changes: object) -> LatencyTable:
    """A table whose calibration says something else than its samples, certified by what it says."""
    table = finished(GOOD, SPACE)
    assert table.calibration is not None
    changed = replace(table, calibration=replace(table.calibration, **changes))
    return replace(changed, certificate=certificate_of(changed, SPACE))


FORGED = replace(GOOD, certificate=replace(GOOD.certificate, mape=GOOD.certificate.mape * 1.1))
BACKWARDS = _calibrated(factors={m.key: -0.5 if m is GOOD.entries[0] else 1.0 for m in GOOD.entries})
BELOW_ZERO = _calibrated(offset_ms=-100.0)


def test_texts_of_tables_are_printed_as_they_are(tmp_path: Path) -> None:
    words = "[/red] no [bold]such[/bold] file :smile:"
    save_table(replace(FAILED, entries=(replace(FAILED.entries[0], error=words), *FAILED.entries[1:])), tmp_path / "t")
    assert words in run_cli("lut", "show", tmp_path / "t").out


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (FORGED, "the certificate is not that of the table's samples: hwnas lut refit makes it anew"),
        (BACKWARDS, f"1 of 17 blocks count with a factor of zero or less, such as {GOOD.entries[0].key} with -0.500"),
        (BELOW_ZERO, "the fastest network is predicted to take -9"),
    ],
    ids=["forged", "backwards", "below zero"],
)
def test_what_a_table_cannot_say_is_shown_as_doubt(table: LatencyTable, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    save_table(table, path)
    assert f"  warning: {words}" in run_cli("lut", "show", path).out
    assert any(line.startswith(words) for line in json.loads(run_cli("lut", "show", path, "--json").out)["warnings"])
    assert f"warning: {words}" in run_cli("lut", "plot", path, "-o", tmp_path / "p.svg").out
    assert run_cli("lut", "refit", path).code == 0
    shown = run_cli("lut", "show", path)
    assert shown.code == 0 and "warning" not in shown.out


def test_predictions_that_cannot_be_are_not_searched_by() -> None:
    with pytest.raises(RequestError, match="fastest network is predicted to take -"):
        require_own_certificate(BELOW_ZERO, SPACE, name="t.json")
    assert "fastest network" in str(shortfall(BELOW_ZERO, SPACE, name="t.json"))
    loose = TrustConfig(min_within_10pct=0.0)
    assert doubts(finished(GOOD, SPACE), loose) is None
    with pytest.raises(RequestError, match="slower blocks made networks faster"):
        require_trust(BACKWARDS, loose, name="t.json")


def test_networks_that_were_measured_once_certify_nothing() -> None:
    once = tuple(replace(n, measurement=_first_sample(n.measurement)) for n in GOOD.networks)
    assert finished(replace(GOOD, networks=once, certificate=None), SPACE).certificate is None


def _first_sample(m: Measurement) -> Measurement:
    return replace(m, visits=m.visits[:1], wall_ns=m.wall_ns[:1], cpu_ns=m.cpu_ns[:1])


def _twice_as_slow(table: LatencyTable) -> tuple[NetworkMeasurement, ...]:
    return tuple(
        replace(n, measurement=replace(n.measurement, wall_ns=tuple(2 * ns for ns in n.measurement.wall_ns)))
        for n in table.networks
    )
