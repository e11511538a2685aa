"""Measuring: the real worker, and workers that misbehave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from general_blocks import GENERAL_BLOCKS, Join

from profilers import Device, Measurement, MeasurementError, Model, Profiler
from profilers.connection import Connection
from profilers.errors import JournalError, WorkerLostError
from profilers.runtime import RUNTIMES
from profilers.visits import VISITS_PER_RESTART
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.onnx_export import export_block

DEVICE = Device(name="test", runtime="onnxruntime", visit_timeout_s=30.0, open_timeout_s=30.0, start_timeout_s=20.0)

FAKE_WORKER = """
import json, os, sys, time
behaviour = json.loads(sys.argv[1])
def say(**event): print(json.dumps(event), flush=True)
def misbehave(what, index):
    if what == "crash": os.kill(os.getpid(), 11)
    if what == "hang": time.sleep(600)
    if what == "babble": print("what?", flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if command["command"] == "start":
        if behaviour.get("start"): misbehave(behaviour["start"], None); say(event="failed", message="no core 99")
        else: say(event="started", onnxruntime="fake", cores=[0])
    elif command["command"] == "open":
        misbehave(behaviour.get("open", {}).get(str(command["index"])), command["index"])
        say(event="opened", index=command["index"])
    elif command["command"] == "pace":
        misbehave(behaviour["pace"], None)
        times = [time.perf_counter_ns() % 10**13 for _ in range(command["repeats"])]
        say(event="pace", wall_ns=times, cpu_ns=times)
    else:
        for index in command["order"]:
            if command["announce"]: say(event="visiting", index=index)
            misbehave(behaviour.get("visit", {}).get(str(index)), index)
        if "once" in behaviour and not os.path.exists(behaviour["once"]):
            open(behaviour["once"], "w").close(); os.kill(os.getpid(), 9)
        times = [1000 + 10 * index for index in command["order"]]
        paced = {"pace": [300, 290]} if "pace" in behaviour else {}
        say(event="round", order=command["order"], wall_ns=times, cpu_ns=times, **paced)
"""


class FakeTransport:
    """Workers that behave as told."""

    def __init__(self, folder: Path, **behaviour: object) -> None:
        self._script = folder / "fake_worker.py"
        self._script.write_text(FAKE_WORKER)
        self._behaviour = json.dumps(behaviour)
        self.num_started = 0

    def start(self, program: Sequence[Path]) -> Connection:
        self.num_started += 1
        return Connection([sys.executable, "-u", str(self._script), self._behaviour])

    def place(self, paths: Sequence[Path]) -> list[str]:
        return [str(path) for path in paths]


@pytest.fixture
def fake_models(tmp_path: Path) -> list[Model]:
    models = []
    for index in range(4):
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(bytes([index]))
        models.append(Model(key=f"m{index}", path=path))
    return models


def _profiler(transport: FakeTransport, rounds: int = 5) -> Profiler:
    return Profiler(device=DEVICE, rounds=rounds, transport=transport)


def test_real_worker_measures_every_model_every_round(tmp_path: Path) -> None:
    blocks = [ConvBnAct(in_channels=3, out_channels=8, input_size=s, kernel=3) for s in (8, 16, 32)]
    models = [Model(key=b.key, path=export_block(b, tmp_path)) for b in blocks]
    result = Profiler(device=DEVICE, rounds=7).measure(models, tmp_path / "j")
    assert [m.key for m in result.measurements] == [b.key for b in blocks]
    assert all(m.num_samples == 7 for m in result.measurements)
    assert sorted(v for m in result.measurements for v in m.visits) == list(range(21))
    assert result.worker["cores"] and result.worker["onnxruntime"]
    assert result.pace is not None and result.pace.visits == tuple(range(0, 21, 3))
    assert len(result.pace.after_wall_ns) == 6


def test_real_worker_times_tokens_and_several_inputs(tmp_path: Path) -> None:
    models = [Model(key=b.key, path=export_block(b, tmp_path)) for b in GENERAL_BLOCKS]
    profiler = Profiler(device=DEVICE, rounds=3)
    assert [m.num_samples for m in profiler.measure(models, tmp_path / "j").measurements] == [3, 3, 3]
    operations = {key: found.operations for key, found in profiler.inspect(models).items()}
    assert any("Conv" in name for name in operations[Join().key])


def test_real_worker_rejects_one_broken_model_and_measures_the_rest(tmp_path: Path) -> None:
    good = ConvBnAct(in_channels=3, out_channels=8, input_size=8, kernel=3)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    models = [Model(key="broken", path=tmp_path / "broken.onnx"), Model(key="good", path=export_block(good, tmp_path))]
    broken, measured = Profiler(device=DEVICE, rounds=3).measure(models, tmp_path / "j").measurements
    assert broken.error is not None and "broken.onnx" in broken.error
    assert measured.num_samples == 3


def test_pinning_to_a_core_that_is_not_there_is_said(tmp_path: Path, fake_models: list[Model]) -> None:
    device = replace(DEVICE, cores=(4095,))
    with pytest.raises(MeasurementError, match=r"cannot pin to cores \[4095\]"):
        Profiler(device=device, rounds=3).measure(fake_models, tmp_path / "j")


@pytest.mark.parametrize("misdeed", ["crash", "hang", "babble"])
@pytest.mark.parametrize("when", ["open", "visit"])
def test_one_misbehaving_model_costs_one_entry(
    misdeed: str, when: str, tmp_path: Path, fake_models: list[Model]
) -> None:
    device = replace(DEVICE, open_timeout_s=1.0, visit_timeout_s=1.0)
    transport = FakeTransport(tmp_path, **{when: {"2": misdeed}})
    profiler = Profiler(device=device, rounds=5, transport=transport)
    result = profiler.measure(fake_models, tmp_path / "j")
    errors = {m.key: m.error for m in result.measurements}
    assert errors["m2"] is not None
    assert [k for k, e in errors.items() if e] == ["m2"]
    assert all(m.num_samples == 5 for m in result.measurements if m.error is None)


def test_a_worker_killed_from_outside_costs_nothing(tmp_path: Path, fake_models: list[Model]) -> None:
    transport = FakeTransport(tmp_path, once=str(tmp_path / "killed"))
    result = _profiler(transport).measure(fake_models, tmp_path / "j")
    assert transport.num_started == 2
    assert all(m.num_samples == 5 for m in result.measurements)


@pytest.mark.parametrize(("misdeed", "words"), [("crash", "SIGSEGV"), ("say", "no core 99")])
def test_a_worker_that_never_starts_is_an_error(
    misdeed: str, words: str, tmp_path: Path, fake_models: list[Model]
) -> None:
    with pytest.raises(MeasurementError, match=words):
        _profiler(FakeTransport(tmp_path, start=misdeed)).measure(fake_models, tmp_path / "j")


def test_all_models_failing_is_an_error(tmp_path: Path, fake_models: list[Model]) -> None:
    transport = FakeTransport(tmp_path, open={str(i): "crash" for i in range(4)})
    with pytest.raises(MeasurementError, match="not one of 4 models"):
        _profiler(transport).measure(fake_models, tmp_path / "j")


def test_continuing_a_journal_gives_the_same_as_one_run(tmp_path: Path, fake_models: list[Model]) -> None:
    whole = _profiler(FakeTransport(tmp_path), rounds=6).measure(fake_models, tmp_path / "whole")
    _profiler(FakeTransport(tmp_path), rounds=2).measure(fake_models, tmp_path / "parts")
    lines = (tmp_path / "parts").read_bytes()
    (tmp_path / "parts").write_bytes(lines[:-7])  # as a kill in the middle of a write leaves it
    parts = _profiler(FakeTransport(tmp_path), rounds=6).measure(fake_models, tmp_path / "parts")

    def sequence(measurements: Sequence[Measurement]) -> list[tuple[int, str, int]]:
        return sorted((v, m.key, ns) for m in measurements for v, ns in zip(m.visits, m.wall_ns, strict=True))

    assert [sample[1:] for sample in sequence(parts.measurements)] == [s[1:] for s in sequence(whole.measurements)]
    assert replace(parts, inference_s=0.0, measurements=()) == replace(whole, inference_s=0.0, measurements=())
    restarts = {v // VISITS_PER_RESTART for m in parts.measurements for v in m.visits}
    assert restarts == {0, 1}, "the worker that continued opened its models anew"


def test_models_are_opened_anew_every_ten_rounds(tmp_path: Path, fake_models: list[Model]) -> None:
    transport = FakeTransport(tmp_path)
    result = _profiler(transport, rounds=25).measure(fake_models, tmp_path / "j")
    for measurement in result.measurements:
        assert list(Counter(v // VISITS_PER_RESTART for v in measurement.visits).values()) == [10, 10, 5]
    assert transport.num_started == 3
    # TVM's libraries take too long to be opened again.
    slow = replace(DEVICE, runtime="tvm", target="native")
    result = Profiler(device=slow, rounds=25, transport=transport).measure(fake_models, tmp_path / "k")
    assert {v // VISITS_PER_RESTART for m in result.measurements for v in m.visits} == {0}


def test_a_journal_of_other_models_or_devices_is_refused(tmp_path: Path, fake_models: list[Model]) -> None:
    _profiler(FakeTransport(tmp_path)).measure(fake_models, tmp_path / "j")
    with pytest.raises(JournalError, match="begun with another models"):
        _profiler(FakeTransport(tmp_path)).measure(fake_models[:3], tmp_path / "j")
    other = Profiler(device=replace(DEVICE, batch=2), rounds=5, transport=FakeTransport(tmp_path))
    with pytest.raises(JournalError, match="begun with another device"):
        other.measure(fake_models, tmp_path / "j")


def test_an_unreadable_journal_is_refused(tmp_path: Path, fake_models: list[Model]) -> None:
    (tmp_path / "j").write_bytes(b"garbage\n")
    with pytest.raises(JournalError, match="not a JSON object"):
        _profiler(FakeTransport(tmp_path)).measure(fake_models, tmp_path / "j")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_a_hanging_worker_does_not_outlive_a_killed_parent(runtime: str) -> None:
    code = (
        "from profilers.runtime import RUNTIMES\nfrom profilers.transport import LocalTransport\n"
        f"connection = LocalTransport().start(RUNTIMES[{runtime!r}].program)\n"
        "connection.send({'command': 'none'})\n"
        "connection.receive(60)\n"
        "print(connection.pid, flush=True)\n"
        "connection.receive(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)  # does not read on, as one that hangs
        assert _is_there(pid)
        parent.kill()
    deadline = time.monotonic() + 10
    while _is_there(pid):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.05)


def _is_there(pid: int) -> bool:
    """Whether a process exists and is no zombie, which is for its new parent to bury."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_orders_differ_between_rounds_and_follow_the_seed(tmp_path: Path, fake_models: list[Model]) -> None:
    def orders(seed: int, name: str) -> list[list[int]]:
        profiler = Profiler(device=DEVICE, rounds=8, seed=seed, transport=FakeTransport(tmp_path))
        profiler.measure(fake_models, tmp_path / name)
        return [json.loads(line)["order"] for line in (tmp_path / name).read_text().splitlines()[1:]]

    assert orders(1, "a") == orders(1, "b") != orders(2, "c")
    assert len({tuple(order) for order in orders(1, "a")}) > 1


def test_killing_a_connection_ends_the_worker() -> None:
    connection = Connection([sys.executable, "-c", "import time; time.sleep(600)"])
    with connection, pytest.raises(WorkerLostError, match="no answer within"):
        connection.receive(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(connection.pid, 0)


def test_measuring_stops_once_it_has_settled(tmp_path: Path, fake_models: list[Model]) -> None:
    seen: list[int] = []

    def is_settled(measurements: Sequence[Measurement]) -> bool:
        seen.append(measurements[0].num_samples)
        return seen[-1] >= 30

    profiler = replace(_profiler(FakeTransport(tmp_path), rounds=80), is_settled=is_settled)
    result = profiler.measure(fake_models, tmp_path / "j")
    assert (result.stopped_by, result.num_rounds, seen) == ("settled", 30, [20, 30])
    assert profiler.measure(fake_models, tmp_path / "j").num_rounds == 30


def test_nobody_asks_whether_it_has_settled_before_the_least_rounds(tmp_path: Path, fake_models: list[Model]) -> None:
    profiler = replace(_profiler(FakeTransport(tmp_path), rounds=80), is_settled=lambda _: True, least_rounds=35)
    result = profiler.measure(fake_models, tmp_path / "j")
    assert (result.stopped_by, result.num_rounds) == ("settled", 40)


def test_measuring_stops_after_the_minutes_given(tmp_path: Path, fake_models: list[Model]) -> None:
    profiler = replace(_profiler(FakeTransport(tmp_path), rounds=10_000), max_minutes=1e-9)
    result = profiler.measure(fake_models, tmp_path / "j")
    assert (result.stopped_by, result.num_rounds) == ("minutes", 20)


@pytest.mark.parametrize("memory_mb", [None, 30])
def test_groups_take_turns_and_share_anchors(memory_mb: float | None, tmp_path: Path) -> None:
    models = []
    for index in range(24):
        (tmp_path / f"{index}.onnx").write_bytes(bytes(index))
        models.append(Model(key=f"m{index}", path=tmp_path / f"{index}.onnx"))
    profiler = replace(_profiler(FakeTransport(tmp_path), rounds=20), memory_mb=memory_mb)
    result = profiler.measure(models, tmp_path / "j")
    assert result.num_rounds == 20
    samples = [m.num_samples for m in result.measurements]
    sessions = {v // VISITS_PER_RESTART for m in result.measurements for v in m.visits}
    if memory_mb is None:
        assert (result.num_groups, set(samples), sessions) == (1, {20}, {0, 1})
    else:
        assert result.num_groups > 1 and min(samples) == 20
        assert sum(n == 20 * result.num_groups for n in samples) == 8
        assert len(sessions) == 2 * result.num_groups
        assert profiler.measure(models, tmp_path / "j") == replace(result, inference_s=0.0)


def test_a_group_that_fails_whole_does_not_keep_the_others_waiting(tmp_path: Path, fake_models: list[Model]) -> None:
    transport = FakeTransport(tmp_path, open={str(i): "crash" for i in range(3)})
    result = _profiler(transport).measure(fake_models, tmp_path / "j")
    assert [m.error is None for m in result.measurements] == [False, False, False, True]


def test_pace_is_kept_with_the_rounds_and_asked_again_after_them(tmp_path: Path, fake_models: list[Model]) -> None:
    transport = FakeTransport(tmp_path, pace="told")
    few = _profiler(transport, rounds=3).measure(fake_models, tmp_path / "j").pace
    assert few is not None and (few.visits, few.wall_ns, few.cpu_ns) == ((0, 4, 8), (300,) * 3, (290,) * 3)
    assert len(few.after_wall_ns) == len(few.after_cpu_ns) == 6
    again = _profiler(transport, rounds=3).measure(fake_models, tmp_path / "j").pace
    assert again == few, "the journal has it"
    more = _profiler(transport, rounds=12).measure(fake_models, tmp_path / "j").pace
    assert more is not None and len(more.wall_ns) == 12
    assert more.visits[3] == VISITS_PER_RESTART, "numbered as samples are"
    assert min(more.after_wall_ns) > max(few.after_wall_ns), "asked again after the last round"
    assert transport.num_started == 4, "a worker a call and one for the second restart, none for the pace alone"


@pytest.mark.parametrize("misdeed", ["crash", "babble"])
def test_a_worker_lost_over_its_pace_costs_no_more_than_that(
    misdeed: str, tmp_path: Path, fake_models: list[Model]
) -> None:
    result = _profiler(FakeTransport(tmp_path, pace=misdeed)).measure(fake_models, tmp_path / "j")
    assert all(m.num_samples == 5 for m in result.measurements)
    assert result.pace is not None and len(result.pace.wall_ns) == 5 and not result.pace.after_wall_ns


def test_workers_need_not_tell_their_pace(tmp_path: Path, fake_models: list[Model]) -> None:
    assert _profiler(FakeTransport(tmp_path)).measure(fake_models, tmp_path / "j").pace is None
    assert "pace" not in (tmp_path / "j").read_text()


def test_a_journal_of_an_older_version_is_refused(tmp_path: Path, fake_models: list[Model]) -> None:
    _profiler(FakeTransport(tmp_path)).measure(fake_models, tmp_path / "j")
    header, _, rest = (tmp_path / "j").read_text().partition("\n")
    (tmp_path / "j").write_text(json.dumps({**json.loads(header), "journal": 2}) + "\n" + rest)
    with pytest.raises(JournalError, match=r"begun with another journal; .*--fresh"):
        _profiler(FakeTransport(tmp_path)).measure(fake_models, tmp_path / "j")


def _counters(root: Path, uj: int, limit: int = 10**6) -> None:
    folder = root / "intel-rapl:0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")


def test_energy_is_absent_without_a_counter_and_never_zero(tmp_path: Path) -> None:
    from profilers.worker_machine import energy_of

    assert energy_of(lambda: None, tmp_path, 0.01) is None
    _counters(tmp_path, 5)
    assert energy_of(lambda: None, tmp_path, 0.01) is None  # the counter stands still


def test_energy_is_shared_among_the_runs_and_survives_the_counters_start_over(tmp_path: Path) -> None:
    from profilers.worker_machine import energy_of

    _counters(tmp_path, 999_900)
    num = 0

    def run() -> None:
        nonlocal num
        num += 1
        _counters(tmp_path, (999_900 + 400 * num) % 1_000_001)

    assert energy_of(run, tmp_path, 0.02) == pytest.approx(0.4)
    assert num > 1


def test_throttling_is_told_by_counters_and_by_a_raspberrys_flags(tmp_path: Path) -> None:
    from profilers.worker_machine import Throttling

    assert not Throttling(tmp_path).has_happened()  # nothing that tells
    counter = tmp_path / "system/cpu/cpu0/thermal_throttle/core_throttle_count"
    counter.parent.mkdir(parents=True)
    counter.write_text("7\n")
    throttling = Throttling(tmp_path)
    assert not throttling.has_happened()
    counter.write_text("8\n")
    assert throttling.has_happened()
    assert not throttling.has_happened()
    flags = tmp_path / "platform/soc/soc:firmware/get_throttled"
    flags.parent.mkdir(parents=True)
    flags.write_text("50000\n")  # it happened once, before
    assert not throttling.has_happened()
    flags.write_text("50005\n")
    assert throttling.has_happened()


def test_throttled_rounds_are_kept_apart(tmp_path: Path) -> None:
    from profilers.events import Round
    from profilers.journal import Journal

    journal = Journal(tmp_path / "t.journal", {"seed": 0}, groups=[[0, 1]])
    journal.add_round(0, 0, Round(event="round", order=(0, 1), wall_ns=(5, 6), cpu_ns=(5, 6)))
    journal.add_throttled_round(0, [1, 0], [50, 60])
    journal.close()
    again = Journal(tmp_path / "t.journal", {"seed": 0}, groups=[[0, 1]])
    assert (len(again.rounds), again.num_throttled) == (1, 1)
    again.close()
