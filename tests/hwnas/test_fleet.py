"""One network for several devices: each with a table, a budget and measurements of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Outcome, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import history_of, synthetic_table

from hwnas.config_file import load_config
from hwnas.errors import RequestError, RunError
from hwnas.flags import overrides_of
from hwnas.measured import Measured
from hwnas.pipeline.fleet import distinct_names
from hwnas.progress import Reporter
from hwnas.search import AGENTS, Evaluation
from hwnas.stages.latency import FleetMember, Latency, LatencyRequest, latency_of
from hwnas.stages.limits import CostLimits, hard_limits
from hwnas.stages.setup import Setup
from hwnas.stages.speed import Speed
from hwnas.table_flag import table_settings
from lut import LatencyModel, LatencyTable, load_table, save_table
from lut.provenance import IMPORTED
from lut.table import ReportedLatency
from profilers import MeasurementError
from profilers.device import find_device
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SPACE = make_space(SPEC)
FLAGS = ("--width", 0.25, "--evaluator", "naswot", "--evaluations", 8, "--retrain-epochs", 1, "--train-images", 160)
QUICK = ("--set", "search.finalists=3", "--set", "retrain.references=false", "--quiet")
TABLES = {
    "a.json": synthetic_table(SPACE, seed=0, scale_ns=1e8),
    "b.json": synthetic_table(SPACE, seed=1, scale_ns=3e8),
}
MODELS = {name: LatencyModel(SPACE, table) for name, table in TABLES.items()}


def published(table: LatencyTable) -> LatencyTable:
    """The same table as somebody would have published it for a phone."""
    device = {"name": "phone", "runtime": "unknown", "threads": 1, "cores": None, "batch": 1}
    return replace(
        table,
        entries=(),
        reported=tuple(ReportedLatency(key=key, mean_ms=ms, count=9) for key, ms in table.latency_ms.items()),
        networks=(),
        calibration=None,
        certificate=None,
        provenance=replace(table.provenance, device=device, worker={"source": "x"}, rounds=0, stopped_by=IMPORTED),
    )


class Boards:
    """Devices that take what a table predicts, or another share of it, and may be unreachable.

    Attributes:
        share: of the prediction that is measured, by the scale of the device's table.
        is_gone: whether the second cannot be reached.
        late_exports: measurements of exported models on the second in which they take far too long, from now on.
        num_measured: models that were measured, by device.
    """

    def __init__(self) -> None:
        self.share = {"first": 1.0, "second": 1.0}
        self.is_gone = False
        self.late_exports = 0
        self.num_measured = {"first": 0, "second": 0}

    def measured(self, networks: Mapping[str, Path], journal: Path, **_: Any) -> dict[str, Measured]:
        """Return what networks take: of finalists by their names; what is exported takes half of the budgets."""
        which = "second" if "@" in journal.name else "first"
        if which == "second" and self.is_gone:
            raise MeasurementError("no answer from the board")
        model = MODELS["b.json" if which == "second" else "a.json"]
        self.num_measured[which] += len(networks)
        journal.touch()
        found = {}
        for name in networks:
            if name == "winner" and which == "second" and self.late_exports:
                self.late_exports -= 1
                found[name] = Measured(latency_ms=10 * model.extreme(slowest=True)[1], repeatability=0.0)
                continue
            choices = [part for part in name.split("-") if part.isdigit()]
            predicted_ms = model.predict_one_ms(tuple(map(int, choices))) if choices else model.extreme()[1]
            found[name] = Measured(latency_ms=self.share[which] * predicted_ms, repeatability=0.0)
        return found


@pytest.fixture(autouse=True)
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boards:
    for name, table in TABLES.items():
        save_table(table, tmp_path / name)
    save_table(published(TABLES["b.json"]), tmp_path / "phone.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hwnas.stages.search.SIZE_EVALUATIONS", 100)
    monkeypatch.setattr("hwnas.pipeline.speeds.timed_now", lambda *_: Speed())
    found = Boards()
    monkeypatch.setattr(Setup, "measured", lambda _, *given, **named: found.measured(*given, **named))
    monkeypatch.setattr(Setup, "model_of", lambda _, architecture: Path("unused.onnx"))
    return found


def search(*flags: object, out: str = "run", more: Sequence[object] = FLAGS) -> Outcome:
    return run_cli("search", *more, *QUICK, *flags, "--out", out)


def ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2 and "Traceback" not in outcome.err, outcome
    for word in words:
        assert word in outcome.err, outcome.err


def lines(run: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "search/history.jsonl").read_text().splitlines()]


BOTH = ("--lut", "a.json=60%", "--lut", "b.json=55%")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first finished run is kept."""
    return tmp_path_factory.mktemp("fleet") / "run"


@pytest.fixture
def finished(boards: Boards, kept: Path) -> None:
    """A finished run for both devices, in the current folder; it is made once."""
    if kept.exists():
        shutil.copytree(kept, "run")
    else:
        ok(search(*BOTH))
        shutil.copytree("run", kept)


def test_a_network_for_two_devices_keeps_both_budgets_and_everything_says_so(boards: Boards) -> None:
    summary = json.loads(ok(search(*BOTH, "--json")).out)
    there = summary["fleet"]["cpu-2"]
    assert summary["budget_kept"] and there["budget_kept"] and there["measured_ms"] > 0
    limits = {
        name: share * MODELS[name].extreme(slowest=True)[1] for name, share in (("a.json", 0.6), ("b.json", 0.55))
    }
    assert there["max_latency_ms"] == pytest.approx(limits["b.json"])
    assert len(lines()) == 8
    for row in lines():
        assert row["costs"]["latency_ms"] <= limits["a.json"] and row["costs"]["latency_ms@cpu-2"] <= limits["b.json"]
    assert boards.num_measured["second"] == boards.num_measured["first"] > 0
    outcome = json.loads(Path("run/search/result.json").read_text())
    for finalist in outcome["finalists"]:
        assert finalist["fleet"]["cpu-2"]["measured"]["measured_ms"] > 0
    page = Path("run/report.html").read_text()
    assert "<h3>Devices</h3>" in page and 'scope="row" class="text">cpu-2<' in page and "✓ kept" in page
    again = ok(run_cli("search", "--resume", "--out", "run", "--quiet"))
    assert "the winner on each device" in again.out and "cpu-2" in again.out


@pytest.mark.slow
def test_what_asks_about_a_finished_run_knows_every_device(finished: None) -> None:
    front = json.loads(ok(run_cli("front", "run", "--json")).out)
    assert front and all(set(e["costs"]) == {"latency_ms", "latency_ms@cpu-2"} for e in front)
    for one in front:
        for other in front:
            if one is not other:
                pairs = [(other["score"], one["score"])]
                pairs += [(-other["costs"][n], -one["costs"][n]) for n in one["costs"]]
                assert not all(a >= b for a, b in pairs) or all(a == b for a, b in pairs)
    assert "on cpu-2" in ok(run_cli("front", "run")).out
    emitted = json.loads(ok(run_cli("emit", "run", "55%", "--json")).out)
    assert emitted[0]["predicted_elsewhere_ms"]["cpu-2"] <= 0.55 * MODELS["b.json"].extreme(slowest=True)[1]
    best = "-".join(map(str, front[-1]["architecture"]))
    told = ok(run_cli("retrain", "run", "--architecture", best, "--quiet")).out
    assert f"network-{best}: on cpu-2" in told and "kept: " in told


def test_budgets_that_each_can_be_kept_but_not_together_are_refused_with_what_each_needs() -> None:
    tight = [f"{name}={1.001 * model.extreme()[1]}ms" for name, model in MODELS.items()]
    assert MODELS["a.json"].extreme()[0] != MODELS["b.json"].extreme()[0]
    outcome = search("--lut", tight[0], "--lut", tight[1])
    refused(outcome, "no architecture keeps all of --lut a.json=BUDGET", "--lut b.json=BUDGET", "(the least is ")
    assert not Path("run").exists()


def test_a_budget_that_no_network_keeps_names_the_device() -> None:
    outcome = search("--lut", "a.json=60%", "--lut", "b.json=1us")
    refused(outcome, "cpu-2, b.json: no architecture under 0.001 ms", "the fastest of this space is")
    fastest_ms = MODELS["b.json"].extreme()[1]
    confident = search("--lut", "a.json=60%", "--lut", f"b.json={1.001 * fastest_ms}ms", "--confidence", 0.999)
    refused(confident, "--lut b.json=BUDGET with a confidence of 0.999 allows", "give a larger --lut b.json=BUDGET")


@pytest.mark.slow
def test_a_budget_that_binds_nothing_changes_nothing() -> None:
    ok(search("--lut", "a.json=60%", "--lut", "b.json=100000ms", "--agent", "random", out="two"))
    ok(search("--lut", "a.json", "--max-latency", "60%", "--agent", "random", out="one"))
    assert [row["architecture"] for row in lines("two")] == [row["architecture"] for row in lines("one")]


def test_a_finalist_must_keep_every_budget_as_measured(boards: Boards) -> None:
    """The second board is slower than its table says: the winner is one that keeps its budget all the same."""
    boards.share["second"] = 1.25
    more = [24 if flag == 8 else flag for flag in FLAGS]
    summary = json.loads(ok(search(*BOTH, "--json", more=more)).out)
    limit_ms = 0.55 * MODELS["b.json"].extreme(slowest=True)[1]
    assert 1.25 * MODELS["b.json"].predict_one_ms(tuple(summary["architecture"])) <= limit_ms
    outcome = json.loads(Path("run/search/result.json").read_text())
    over = [f for f in outcome["finalists"] if f["fleet"]["cpu-2"]["measured"]["measured_ms"] > limit_ms]
    assert over, "the search found no network that the slow board makes miss its budget"


@pytest.mark.slow
def test_a_winner_that_misses_a_budget_elsewhere_once_exported_gives_way_to_the_next(boards: Boards) -> None:
    """The first exported winner takes long on the second board; the next finalist does not."""
    boards.late_exports = 2  # it is measured twice
    outcome = ok(search(*BOTH, "--json"))
    summary = json.loads(outcome.out)
    decision = json.loads(Path("run/missed/1/next.json").read_text())
    assert summary["architecture"] != decision["missed"]["winner"]["architecture"]
    assert summary["fleet"]["cpu-2"]["budget_kept"] is True and summary["budget_kept"] is True
    assert sorted(path.name for path in Path("run/missed/1/export").glob("*@cpu-2.journal"))


@pytest.mark.slow
def test_a_winner_that_misses_a_budget_elsewhere_with_nothing_left_says_which_budget_would_do(boards: Boards) -> None:
    boards.late_exports = 99
    outcome = search(*BOTH)
    assert outcome.code == 1 and "winner takes" in outcome.err and "on cpu-2 as exported" in outcome.err, outcome.err
    last = outcome.err.strip().splitlines()[-1]
    assert "no other finalist is left; give --lut b.json=" in last and last.endswith("ms"), last
    again = run_cli("search", "--resume", "--out", "run")
    assert again.code == 1 and "missed" in Path("run/report.html").read_text()


def test_where_no_finalist_keeps_all_budgets_the_error_tells_what_each_device_allows(boards: Boards) -> None:
    boards.share["second"] = 9.0
    outcome = search(*BOTH)
    assert outcome.code == 1 and "keeps all budgets as measured: cpu " in outcome.err, outcome.err
    assert "which 0 keep" in outcome.err and "--lut b.json=BUDGET" in outcome.err


@pytest.mark.slow
def test_a_device_that_fails_ends_the_run_which_continues_when_it_is_back_or_may_be_missing(boards: Boards) -> None:
    boards.is_gone = True
    outcome = search(*BOTH)
    assert outcome.code == 1 and "cpu-2 cannot be measured: no answer from the board" in outcome.err
    assert "--allow-unmeasured" in outcome.err
    shutil.copytree("run", "other")
    boards.is_gone = False
    ok(run_cli("search", "--resume", "--out", "run", "--quiet"))
    boards.is_gone = True
    missing = ok(run_cli("search", "--resume", "--out", "other", "--quiet", "--allow-unmeasured", "--json"))
    there = json.loads(missing.out)["fleet"]["cpu-2"]
    assert there["measured_ms"] is None and there["budget_kept"] is None
    assert missing.err.count("cpu-2 cannot be measured") == 1 and "kept by prediction alone" in missing.err
    assert "kept by prediction" in Path("other/report.html").read_text()


@pytest.mark.slow
def test_a_published_table_counts_by_prediction_and_comes_second(boards: Boards) -> None:
    given = ("--lut", "a.json=60%", "--lut", "phone.json=55%", "--accept-table")
    outcome = ok(search(*given, "--json"))
    there = json.loads(outcome.out)["fleet"]["phone"]
    assert there["measured_ms"] is None and there["budget_kept"] is None
    assert "nothing is measured on phone" in outcome.err and boards.num_measured["second"] == 0
    refused(search("--lut", "phone.json=55%", "--lut", "a.json=60%", "--accept-table", out="x"), "the first device")
    refused(search(*given[:-1], out="y"), "phone.json has no certificate", "--accept-table")


def test_a_table_of_another_space_says_what_is_expected(tmp_path: Path) -> None:
    save_table(synthetic_table(make_space(replace(SPEC, width=0.5)), scale_ns=1e8), tmp_path / "wide.json")
    refused(
        search("--lut", "a.json=60%", "--lut", "wide.json=60%"),
        "wide.json is for",
        "this search is for",
        "hwnas profile",
    )


@pytest.mark.slow
def test_a_run_that_stopped_anywhere_ends_as_undisturbed(finished: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Setup, "measured", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert search(*BOTH, out="stopped").code != 0
    history = Path("stopped/search/history.jsonl")
    kept = history.read_text().splitlines(keepends=True)[:3]
    history.write_text("".join(kept))
    ok(search(*BOTH, out="stopped"))
    assert history_of(history) == history_of(Path("run/search/history.jsonl"))
    summaries = [json.loads(Path(run, "summary.json").read_text()) for run in ("run", "stopped")]
    assert summaries[0]["architecture"] == summaries[1]["architecture"]


@pytest.mark.slow
def test_a_moved_run_has_its_own_copies_of_all_tables(
    finished: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, expected = ok(run_cli("front", "run", "--json")).out, json.loads(Path("run/summary.json").read_text())
    away = tmp_path / "away"
    away.mkdir()
    shutil.move("run", away / "moved")
    Path("b.json").unlink()
    save_table(TABLES["a.json"], "b.json")  # another by that name
    monkeypatch.chdir(away)
    assert load_table("moved/fleet/lut-2.json") == TABLES["b.json"]
    assert ok(run_cli("front", "moved", "--json")).out == front
    for name in ("search/result.json", "summary.json", "report.html", "retrain", "export"):
        shutil.rmtree(Path("moved", name)) if Path("moved", name).is_dir() else Path("moved", name).unlink()
    ok(run_cli("search", "--resume", "--out", "moved", "--quiet"))
    assert json.loads(Path("moved/summary.json").read_text())["fleet"] == expected["fleet"]
    save_table(TABLES["a.json"], "moved/fleet/lut-2.json")
    refused(run_cli("emit", "moved", "55%"), "is not the table that", "was begun with")


@pytest.mark.slow
def test_another_table_in_the_place_of_a_fleets_is_another_run(finished: None) -> None:
    save_table(
        replace(TABLES["b.json"], provenance=replace(TABLES["b.json"].provenance, date="2027-01-01T00:00:00+00:00")),
        "b.json",
    )
    refused(search(*BOTH), "b.json is not what", "was begun with (fleet.0.lut)")
    refused(search("--lut", "a.json=60%"), "other settings", "fleet")


@pytest.mark.slow
def test_a_run_from_another_takes_its_fleet_or_has_its_own() -> None:
    supernet = ("--width", 0.25, "--train-images", 160, "--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1)
    ok(search(*BOTH, out="old", more=supernet))
    Path("b.json").unlink()
    begun = ("search", "--from", "old", *QUICK)
    ok(run_cli(*begun, "--max-latency", "70%", "--out", "same"))
    kept = yaml.safe_load(Path("same/config.yaml").read_text())
    assert kept["max_latency"] == "70%" and kept["fleet"][0]["max_latency"] == "55%"
    assert Path("same/fleet/lut-2.json").read_bytes() == Path("old/fleet/lut-2.json").read_bytes()
    save_table(TABLES["b.json"], "c.json")
    other = ("--lut", "a.json=70%", "--lut", "phone.json=60%", "--lut", "c.json=65%", "--accept-table")
    ok(run_cli(*begun, *other, "--out", "other"))
    costs = json.loads(Path("other/search/history.jsonl").read_text().splitlines()[0])["costs"]
    assert [name for name in costs if "@" in name] == ["latency_ms@phone", "latency_ms@cpu-2"]
    ok(run_cli(*begun, "--lut", "a.json=70%", "--out", "alone"))
    assert "fleet" not in json.loads(Path("alone/summary.json").read_text()) and not Path("alone/fleet").exists()


@pytest.mark.parametrize(
    ("given", "flags", "words"),
    [
        (["a.json", "b.json"], {}, "--lut a.json: expected a budget of its own beside other tables"),
        (["a.json=5ms", "b.json"], {}, "give --lut b.json=20ms, or a share such as --lut b.json=60%"),
        (["a.json=5ms"], {"max_latency": "9ms"}, "--max-latency 9ms and --lut a.json=5ms are both the budget"),
        (["a.json=5ms", "a.json=9ms"], {}, "--lut a.json was given twice"),
        (["a.json=5ms", "../{here}/a.json=9ms"], {}, "/a.json was given twice"),
        (["a.json=5"], {}, "--lut a.json=5: expected a duration such as 20ms"),
        (["=5ms"], {}, "expected a table before the budget"),
    ],
)
def test_tables_without_what_they_need_are_refused(given: list[str], flags: dict[str, str], words: str) -> None:
    with pytest.raises(RequestError) as error:
        table_settings([Path(text.format(here=Path.cwd().name)) for text in given], flags)
    assert words in str(error.value)


def test_tables_of_a_command_line_become_settings() -> None:
    assert table_settings([Path("a.json")], {"max_latency": "5ms"}) == {"lut": Path("a.json")}
    assert table_settings([Path("x/a.json=5ms")], {}) == {"lut": Path("x/a.json"), "fleet": [], "max_latency": "5ms"}
    mixed = table_settings([Path("a.json"), Path("b.json=60%")], {"max_latency": "5ms"})
    assert mixed == {"lut": Path("a.json"), "fleet": [{"lut": "b.json", "max_latency": "60%"}]}
    Path("t=5ms").write_text("")
    assert table_settings([Path("t=5ms")], {}) == {"lut": Path("t=5ms")}, "a file of that name"


def test_further_devices_by_a_setting_stand_beside_one_table() -> None:
    fleet = "fleet=[{lut: b.json, max_latency: 55%}]"
    found = overrides_of({"lut": [Path("a.json=60%")]}, [fleet])
    assert found == {"lut": Path("a.json"), "max_latency": "60%", "fleet": [{"lut": "b.json", "max_latency": "55%"}]}
    assert overrides_of({"lut": [Path("a.json=60%")]})["fleet"] == [], "one table alone is for one device"
    with pytest.raises(RequestError, match="fleet was given twice"):
        overrides_of({"lut": [Path("a.json=60%"), Path("c.json=60%")]}, [fleet])


def test_one_table_is_not_two_devices() -> None:
    again = "fleet=[{lut: ./a.json, max_latency: 55%}]"
    refused(search("--lut", "a.json=60%", "--set", again), "fleet: expected a table of its own", "a.json twice")


def test_tables_with_budgets_name_all_devices_anew_beside_a_file_of_settings() -> None:
    Path("f.yaml").write_text("lut: a.json\nmax_latency: 60%\nfleet: [{lut: b.json, max_latency: 55%}]\n")
    config = load_config(Path("f.yaml"), overrides_of({"lut": [Path("b.json=50%")]}))
    assert (config.lut, config.max_latency, config.fleet) == (Path("b.json"), "50%", ())


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("absent.json", ("cannot read the latency table", "absent.json")),
        ("wide.json", ("wide.json is for", "this search is for")),
        ("int8.json", ("int8.json holds int8 latencies, but --precision is fp32",)),
        ("batch.json", ("expected one batch size on all devices, found 1 on cpu and 4 on cpu-2",)),
    ],
)
def test_tables_of_further_devices_are_checked_before_the_first_ones_is_made(
    file: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES["b.json"]
    save_table(synthetic_table(make_space(replace(SPEC, width=0.5)), scale_ns=1e8), "wide.json")
    save_table(replace(table, provenance=replace(table.provenance, precision="int8")), "int8.json")
    device = {**table.provenance.device, "batch": 4}
    save_table(replace(table, provenance=replace(table.provenance, device=device)), "batch.json")
    monkeypatch.setattr("hwnas.pipeline.order.prepare_latency", lambda *_: pytest.fail("measured"))
    fleet = f"fleet=[{{lut: {file}, max_latency: 55%}}]"
    refused(search("--max-latency", "60%", "--set", fleet, "--accept-table"), *words)
    assert not Path("run").exists()


def test_devices_of_one_name_get_names_that_differ() -> None:
    assert distinct_names(["cpu", "cpu", "cpu"]) == ["cpu", "cpu-2", "cpu-3"]
    assert distinct_names(["cpu", "cpu-2", "cpu", "a b/c"]) == ["cpu", "cpu-2", "cpu-3", "a-b-c"]


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    device = find_device("cpu")
    yield Setup(space=SPACE, device=device, precision="fp32", seed=0, reporter=Reporter(is_quiet=True))


def fleet_latency(setup: Setup, budgets: Sequence[str], confidence: float | None) -> Latency:
    both = [
        latency_of(
            model,
            Speed(),
            LatencyRequest(max_latency=budget, confidence=confidence),
            doubt=None,
            reporter=Reporter(is_quiet=True),
        )
        for model, budget in zip(MODELS.values(), budgets, strict=True)
    ]
    member = FleetMember(name="second", setup=setup, latency=both[1], may_be_unmeasured=False)
    return replace(both[0], fleet=(member,))


def between(file: str, share: int) -> str:
    """Return a budget that so many per cent of the way lie below, from the fastest network to the slowest."""
    (_, least_ms), (_, most_ms) = MODELS[file].extreme(), MODELS[file].extreme(slowest=True)
    return f"{1.02 * least_ms + share / 100 * (most_ms - least_ms)}ms"


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    agent=st.sampled_from([name for name, agent in AGENTS.items() if not agent.reads_supernet and name != "generator"]),
    shares=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    confidence=st.sampled_from([None, 0.9]),
)
def test_no_agent_proposes_a_network_over_any_budget(
    seed: int, agent: str, shares: tuple[int, int], confidence: float | None, setup: Setup
) -> None:
    budgets = [between(file, share) for file, share in zip(MODELS, shares, strict=True)]
    latency = fleet_latency(setup, budgets, confidence)
    limits = hard_limits(SPACE, latency, CostLimits(), batch=1)
    rng = np.random.default_rng(seed)
    try:
        searching = AGENTS[agent](SPACE, limits, rng)
        for _ in range(2):
            asked = searching.ask(5)
            for architecture in asked:
                for model, own in zip(MODELS.values(), (latency, latency.fleet[0].latency), strict=True):
                    assert model.predict_one_ms(architecture) <= own.margin * own.max_ms
            searching.tell([Evaluation(architecture=a, score=rng.random(), costs=limits.costs(a)) for a in asked])
    except RequestError as error:
        assert "no feasible architecture" in str(error)
        every = np.array(list(np.ndindex(*(len(d.choices) for d in SPACE.decisions))))
        assert (limits.worst_share(every) > 1).all()


def test_each_table_has_its_own_certificates_margin(setup: Setup) -> None:
    latency = fleet_latency(setup, ["60%", "60%"], 0.95)
    margins = {limit.name: limit.maximum for limit in hard_limits(SPACE, latency, CostLimits(), batch=1).limits}
    member = latency.fleet[0].latency
    assert margins["latency_ms"] == latency.margin * latency.max_ms
    assert margins["latency_ms@second"] == member.margin * member.max_ms and member.margin != latency.margin


def test_a_device_that_failed_is_not_tried_again(boards: Boards, setup: Setup) -> None:
    boards.is_gone = True
    member = fleet_latency(setup, ["60%", "60%"], None).fleet[0]
    with pytest.raises(RunError, match="second cannot be measured: no answer"):
        member.measured({"0": Path("x")}, Path("0@second.journal"))
    allowed = replace(member, may_be_unmeasured=True)
    assert allowed.measured({"0": Path("x")}, Path("0@second.journal")) == {} and not allowed.is_measured
    boards.is_gone = False
    assert allowed.measured({"0": Path("x")}, Path("0@second.journal")) == {}
