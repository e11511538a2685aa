"""Whatever a worker says or does not say, measuring ends in time, and what is not to blame is measured.

Each line of the tables below is one behaviour, as code that the worker runs instead of answering.
"""

from __future__ import annotations

import json
import re
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile_worker
import pytest

from profilers import Device, MeasurementError, Model, Profiler, tuning
from profilers.connection import Connection
from profilers.dissection import dissect
from profilers.errors import JournalError, WorkerLostError
from profilers.reference import Reference, difference
from profilers.result import ProfileResult
from profilers.worker_tvm_tuning import tuned_trials

pytestmark = pytest.mark.timeout(60)

IMPATIENT = Device(name="test", runtime="onnxruntime", start_timeout_s=10.0, open_timeout_s=0.4, visit_timeout_s=0.4)
PATIENT = replace(IMPATIENT, open_timeout_s=10.0, visit_timeout_s=10.0)
ENDLESS = ("sleep", "forever", "while True", "os.kill(os.getpid(), 19)")
"""What takes a deadline to end; whatever else is told of at once, however slow the machine is."""

ROUNDS = 3
MUCH_TOO_LONG_S = 20.0
"""Of the impatient device's deadlines, two in a row, on a machine that does other things too."""

HANGS = "time.sleep(600)"
TWICE = "say(good, '\\n' + json.dumps(good) + '\\n')"
"""The same answer twice in one piece: a second piece may come any time later, and be taken for the next answer."""

QUICK = ("hangs", "says a line without end", "crashes", "ends with a word")
STOPS = {
    "hangs": (HANGS, "no answer within 0.4 s"),
    "dribbles a line": ("forever('[', 0.05)", "no answer within 0.4 s, only '["),
    "says a line without end": ("forever('x' * 65536)", "expected a line of at most"),
    "says blank lines": ("forever('\\n')", "found ''"),
    "says lines without end": ("forever('words\\n')", "found 'words'"),
    "says one line without end": ("while True: say(good)", ""),
    "complains without end": ("while True: os.write(2, b'x' * 65536)", "no answer within 0.4 s"),
    "closes its output": ("os.close(1); time.sleep(600)", "its output was closed"),
    "is stopped": ("os.kill(os.getpid(), 19)", "no answer within 0.4 s"),
    "crashes": ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    "dies of a signal without a name": ("os.kill(os.getpid(), 40)", "killed by signal 40"),
    "ends": ("os._exit(0)", "exit code 0"),
    "ends with a word": ("os.write(2, b'no \\x1b[31mluck\\n'); os._exit(3)", "exit code 3): no [31mluck"),
    "leaves a child with its output": ("os.fork() and os._exit(0); time.sleep(600)", "no answer within 0.4 s"),
}
NO_EVENT = {
    "a word": "raw('what?\\n')",
    "nothing": "raw('\\n')",
    "no text": "raw(b'\\xff\\xfe\\x00\\n')",
    "a list": "raw('[1]\\n')",
    "a number": "raw('7\\n')",
    "null": "raw('null\\n')",
    "lists in lists": "raw('[' * 100_000 + '\\n')",
    "objects in objects": "raw('{\"event\":' * 2_000 + '\\n')",
    "no kind": "say({'index': 2})",
    "an unknown kind": "say({'event': 'opend', 'index': 2})",
    "a list as kind": "say({'event': ['opened'], 'index': 2})",
    "half a surrogate": 'raw(\'{"event": "failed", "index": 2, "message": "\\\\ud800"}\\n\')',
}
OPENED = {
    "another kind": "say({'event': 'pace', 'wall_ns': [], 'cpu_ns': []})",
    "a start": "say({'event': 'started'})",
    "another model": "say({'event': 'opened', 'index': 0})",
    "an unknown model": "say({'event': 'opened', 'index': 99})",
    "a negative model": "say({'event': 'opened', 'index': -1})",
    "a model as text": "say({'event': 'opened', 'index': '2'})",
    "a model of 5,000 digits": "raw('{\"event\": \"opened\", \"index\": ' + '2' * 5000 + '}\\n')",
    "two models": 'raw(\'{"event": "opened", "index": 3, "index": 2}\\n\')',
    "true as model": "say({'event': 'opened', 'index': True})",
    "a fraction as model": "say({'event': 'opened', 'index': 2.0})",
    "no model": "say({'event': 'opened'})",
    "an unknown field": "say({**good, 'speed': 1})",
    "outputs that are no numbers": "say({**good, 'outputs': [[float('nan')]]})",
    "infinite outputs": 'raw(\'{"event": "opened", "index": 2, "outputs": [[1e999]]}\\n\')',
    "outputs as text": "say({**good, 'outputs': [['1']]})",
    "outputs deep in lists": "say({**good, 'outputs': [[[1.0]]]})",
    "too many values of an output": "say({**good, 'outputs': [[0.5] * 5000]})",
    "ten megabytes of outputs": "say({**good, 'outputs': [[0.5] * 2_000_000]})",
    "two answers": TWICE,
    "an answer and a word": "say(good, ' what?\\n')",
    "an answer ahead": "say(good, '\\n' + json.dumps({'event': 'opened', 'index': 3}) + '\\n')",
    "a failure of another model": "say({'event': 'failed', 'index': 0, 'message': 'm'})",
    "a failure without a word": "say({'event': 'failed', 'index': 2})",
    "a failure with no message": "say({'event': 'failed', 'index': 2, 'message': None})",
    "a failure that steers the terminal": "say({'event': 'failed', 'index': 2, 'message': 'a\\x1b[2J\\nb'})",
    "a failure of a megabyte": "say({'event': 'failed', 'index': 2, 'message': 'm' * 2**20})",
}
ROUND = {
    "a negative time": "good['wall_ns'][0] = -5; say(good)",
    "no time at all": "good['wall_ns'][1] = 0; say(good)",
    "a time of null": "good['wall_ns'][0] = None; say(good)",
    "a time as text": "good['wall_ns'][0] = '5'; say(good)",
    "a time that is true": "good['wall_ns'][0] = True; say(good)",
    "a time with a fraction": "good['wall_ns'][0] = 5.5; say(good)",
    "a time that is no number": "good['wall_ns'][0] = float('nan'); say(good)",
    "a time of 30 digits": "good['wall_ns'][0] = 10**30; say(good)",
    "a time of a week": "good['wall_ns'][0] = 7 * 86_400 * 10**9; say(good)",
    "a time too few": "good['wall_ns'].pop(); say(good)",
    "CPU time below zero": "good['cpu_ns'] = [-1] * len(good['order']); say(good)",
    "CPU times of some": "good['cpu_ns'] = [1]; say(good)",
    "CPU times as text": "good['cpu_ns'] = 'none'; say(good)",
    "no CPU times": "del good['cpu_ns']; say(good)",
    "no times": "del good['wall_ns']; say(good)",
    "no order": "del good['order']; say(good)",
    "first times of some": "good['first_ns'] = [1]; say(good)",
    "negative first times": "good['first_ns'] = [-1] * len(good['order']); say(good)",
    "another order": "good['order'] = good['order'][::-1]; say(good)",
    "an order that nobody asked for": "good |= {k: v[:1] for k, v in good.items() if k != 'event'}; say(good)",
    "one model twice": "good['order'] = [good['order'][0]] * len(good['order']); say(good)",
    "more visits than asked": "good |= {k: v * 2 for k, v in good.items() if k != 'event'}; say(good)",
    "an unknown model": "good['order'] = [99, *good['order'][1:]]; say(good)",
    "a negative model": "good['order'] = [-1, *good['order'][1:]]; say(good)",
    "throttled as text": "say({**good, 'throttled': 'no'})",
    "throttled as number": "say({**good, 'throttled': 1})",
    "a negative pace": "say({**good, 'pace': [-3, 3]})",
    "half a pace": "say({**good, 'pace': [3]})",
    "a pace as text": "say({**good, 'pace': 'fast'})",
    "an unknown field": "say({**good, 'times': []})",
    "a failure": "say({'event': 'failed', 'message': 'no time'})",
    "another answer": "say({'event': 'opened', 'index': 2})",
    "visits without end": "while True: say({'event': 'visiting', 'index': 2})",
    "visits to unknown models": "say({'event': 'visiting', 'index': 99}); time.sleep(600)",
    "two answers": TWICE,
    "a megabyte": "say({**good, 'order': [0] * 300_000})",
}
START = {
    "a fact that is a mapping": ("say({**good, 'machine': {'a': 1}})", "started.machine"),
    "a fact that is no number": ("say({**good, 'machine': float('nan')})", "started.machine"),
    "facts deep in lists": ("say({**good, 'machine': [[[]]]})", "started.machine"),
    "a fact of a megabyte": ("say({**good, 'machine': 'm' * 2**20})", "started.machine"),
    "a fact without a name": ("say({**good, '': 1})", "expected names of letters"),
    "health as text": ("say({**good, 'health': 'good'})", "started.health"),
    "a temperature as text": ("say({**good, 'health': {'temperature_c': '40'}})", "temperature_c"),
    "a temperature below zero kelvin": ("say({**good, 'health': {'temperature_c': -300.0}})", "temperature_c"),
    "memory below zero": ("say({**good, 'health': {'free_mb': -1.0}})", "free_mb"),
    "a failure": ("say({'event': 'failed', 'message': 'no core 99'})", "no core 99"),
    "a round": ("say({'event': 'visiting', 'index': 0})", "expected an answer to 'start'"),
    "two answers": (TWICE, "what nobody asked"),
}
PACE = {
    "too few": "good['wall_ns'].pop(); say(good)",
    "negative": "good['wall_ns'] = [-1] * 6; say(good)",
    "text": "good['wall_ns'] = 'fast'; say(good)",
    "a failure": "say({'event': 'failed', 'message': 'no'})",
    "a line without end": "forever('x' * 65536)",
}
INSPECTED = {
    "energy below zero": "say({**good, 'energy_mj': -1.5})",
    "energy of zero": "say({**good, 'energy_mj': 0})",
    "energy that is no number": "say({**good, 'energy_mj': float('nan')})",
    "infinite energy": "say({**good, 'energy_mj': float('inf')})",
    "energy as text": "say({**good, 'energy_mj': '1.5'})",
    "operations as text": "say({**good, 'operations': 'Conv'})",
    "operations as numbers": "say({**good, 'operations': [1]})",
    "no operations": "del good['operations']; say(good)",
    "hangs": HANGS,
}

DISSECTED = {
    "a graph that is no base64": "say({**good, 'graph': '%%%'})",
    "a graph that is not packed": "say({**good, 'graph': 'AAAA'})",
    "a graph that is cut": "say({**good, 'graph': 'eJwr'})",
    "no nodes": "say({**good, 'nodes': []})",
    "a node without times": "del good['nodes'][0]['us']; say(good)",
    "a visit too few": "good['nodes'][0]['us'] = [1]; say(good)",
    "times below zero": "good['nodes'][0]['us'] = [-1] * 3; say(good)",
    "a shape below zero": "good['nodes'][0]['inputs'] = [{'float': [-1]}]; say(good)",
    "a tensor of two types": "good['nodes'][0]['inputs'] = [{'float': [1], 'int8': [1]}]; say(good)",
    "a name that steers": "good['nodes'][0]['us'] = [0.5] * 3; good['nodes'][0]['name'] = '\x1b[31m'; say(good)",
    "crashes": "os.kill(os.getpid(), 11)",
    "hangs": HANGS,
}


def _device(code: str) -> Device:
    return IMPATIENT if any(words in code for words in ENDLESS) else PATIENT


class HostileTransport:
    """Starts workers that answer well but for one thing."""

    def __init__(self, at: str, code: str, index: int = 2) -> None:
        self._arguments = [hostile_worker.__file__, at, str(index), code]

    def start(self, program: Sequence[Path]) -> Connection:
        return Connection([sys.executable, "-S", "-E", "-u", *self._arguments])

    def place(self, paths: Sequence[Path]) -> list[str]:
        return [str(path) for path in paths]


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    found = []
    for index in range(4):
        (tmp_path / f"{index}.onnx").write_bytes(bytes([index]))
        found.append(Model(key=f"m{index}", path=tmp_path / f"{index}.onnx"))
    return found


def _measured(at: str, code: str, models: Sequence[Model], folder: Path) -> ProfileResult:
    """What measuring gives; it ends in any case."""
    started = time.monotonic()
    try:
        transport = HostileTransport(at, code)
        return Profiler(device=_device(code), rounds=ROUNDS, transport=transport).measure(models, folder / "j")
    finally:
        assert time.monotonic() - started < MUCH_TOO_LONG_S


def _require_one_failure(result: ProfileResult, words: str = "") -> None:
    """The third model failed and the others were measured."""
    bad = result.measurements[2]
    assert bad.error is not None and words in bad.error
    assert bad.error.isprintable() and len(bad.error) < 1000
    assert [m.num_samples for m in result.measurements] == [ROUNDS, ROUNDS, 0, ROUNDS]


def _rows(table: dict[str, Any], quick: Sequence[str]) -> list[Any]:
    """Rows of a table, of which all but a few wait for the slow suite."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in table]


@pytest.mark.parametrize("name", STOPS)
def test_a_model_that_stops_the_worker_as_it_is_opened_fails_alone(
    name: str, models: list[Model], tmp_path: Path
) -> None:
    code, words = STOPS[name]
    _require_one_failure(_measured("open", code, models, tmp_path), words)


@pytest.mark.parametrize("name", _rows(STOPS, QUICK))
def test_a_model_that_stops_the_worker_in_its_visit_fails_alone(name: str, models: list[Model], tmp_path: Path) -> None:
    code, words = STOPS[name]
    _require_one_failure(_measured("visit", code, models, tmp_path), words)


@pytest.mark.parametrize("name", _rows(STOPS, QUICK))
def test_a_worker_that_stops_in_every_round_is_stopped_early(name: str, models: list[Model], tmp_path: Path) -> None:
    code, words = STOPS[name]
    num_tries = 2 if words.startswith("no answer") else 3  # a hang takes a visit's deadline each time
    with pytest.raises(MeasurementError, match=f"lost {num_tries} workers in a row on test: .*{re.escape(words)}"):
        _measured("round", code, models, tmp_path)


@pytest.mark.parametrize("code", [*NO_EVENT.values(), *OPENED.values()], ids=[*NO_EVENT, *OPENED])
def test_a_model_whose_opening_is_answered_wrongly_fails_alone(code: str, models: list[Model], tmp_path: Path) -> None:
    _require_one_failure(_measured("open", code, models, tmp_path))


NAMES_THE_MODEL = "say({'event': 'failed', 'index': 2, 'message': 'no'}); time.sleep(600)"


@pytest.mark.parametrize("code", [*NO_EVENT.values(), NAMES_THE_MODEL], ids=[*NO_EVENT, "a failure of the model"])
def test_a_model_whose_visit_makes_the_worker_babble_fails_alone(
    code: str, models: list[Model], tmp_path: Path
) -> None:
    _require_one_failure(_measured("visit", code, models, tmp_path))


@pytest.mark.parametrize("code", [*NO_EVENT.values(), *ROUND.values()], ids=[*NO_EVENT, *ROUND])
def test_a_worker_whose_rounds_do_not_fit_is_stopped_early(code: str, models: list[Model], tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"lost [23] workers in a row on test: ") as caught:
        _measured("round", code, models, tmp_path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize(("code", "words"), START.values(), ids=START)
def test_a_worker_that_describes_itself_wrongly_is_not_used(
    code: str, words: str, models: list[Model], tmp_path: Path
) -> None:
    with pytest.raises(MeasurementError, match=f"cannot start a worker for test: .*{words}"):
        _measured("start", code, models, tmp_path)


@pytest.mark.parametrize("code", PACE.values(), ids=PACE)
def test_a_wrong_pace_costs_no_more_than_that(code: str, models: list[Model], tmp_path: Path) -> None:
    result = _measured("pace", code, models, tmp_path)
    assert [m.num_samples for m in result.measurements] == [ROUNDS] * 4
    assert result.pace is not None and not result.pace.after_wall_ns


@pytest.mark.parametrize("code", INSPECTED.values(), ids=INSPECTED)
def test_a_model_that_is_inspected_wrongly_is_left_out(code: str, models: list[Model]) -> None:
    found = Profiler(device=_device(code), transport=HostileTransport("inspect", code)).inspect(models)
    assert set(found) == {"m0", "m1", "m3"}
    assert {f.energy_mj for f in found.values()} == {1.5}


@pytest.mark.parametrize("code", DISSECTED.values(), ids=DISSECTED)
def test_a_model_that_is_taken_apart_wrongly_is_a_failure(code: str, models: list[Model]) -> None:
    profiler = Profiler(device=_device(code), rounds=ROUNDS, transport=HostileTransport("dissect", code))
    result = dissect(profiler, models)
    assert result.found.keys() == {"m0", "m1", "m3"} and result.failures.keys() == {"m2"}
    assert result.failures["m2"].isprintable()


def test_much_said_on_standard_error_does_no_harm(models: list[Model], tmp_path: Path) -> None:
    result = _measured("open", "os.write(2, b'x' * 2**20); say(good)", models, tmp_path)
    assert [m.num_samples for m in result.measurements] == [ROUNDS] * 4


@pytest.mark.parametrize("code", ["os._exit(1)", "say({'event': 'opened', 'index': -1})"])
def test_a_worker_that_opens_nothing_is_given_up_before_all_were_tried(
    code: str, models: list[Model], tmp_path: Path
) -> None:
    many = [Model(key=str(i), path=models[i % 4].path) for i in range(30)]
    profiler = Profiler(device=_device(code), rounds=ROUNDS, transport=HostileTransport("open", code, index=-1))
    with pytest.raises(MeasurementError, match="10 models in a row ended their worker"):
        profiler.measure(many, tmp_path / "j")


def test_a_line_without_end_is_not_kept() -> None:
    code = "import os\nwhile True: os.write(1, b'x' * 65536)"
    tracemalloc.start()
    try:
        with (
            Connection([sys.executable, "-c", code]) as connection,
            pytest.raises(WorkerLostError, match="at most 1,000,000 bytes, found 'xxx"),
        ):
            connection.receive(10.0, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_worker_that_does_not_read_is_stopped_early() -> None:
    with (
        Connection([sys.executable, "-c", "import time; time.sleep(600)"]) as connection,
        pytest.raises(WorkerLostError, match="did not read"),
    ):
        connection.send({"order": list(range(100_000))}, timeout_s=0.2)


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        ([[1.0]], [[1.00001]], None),
        ([[None, 1e30]], [[None, 1e30]], None),
        ([], [[1.0]], r"expected outputs of \[1\] values, found \[\]"),
        ([[1.0, 2.0]], [[1.0]], r"expected outputs of \[1\] values, found \[2\]"),
        ([[None]], [[1.0]], "only one of the two"),
        ([[1.0]], [[None]], "only one of the two"),
        ([[1e308]], [[-1e308]], "differ by inf"),
        ([[1.1]], [[1.0]], "differ by 0.1"),
    ],
)
def test_outputs_are_compared_whatever_was_told(found: list, expected: list, words: str | None) -> None:
    said = difference(found, expected)
    assert said is None if words is None else re.search(words, str(said))


def test_a_model_that_this_machine_cannot_open_is_compared_with_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    reference = Reference(start_timeout_s=20.0, open_timeout_s=20.0)
    try:
        said = reference.difference(tmp_path / "broken.onnx", [[1.0]])
    finally:
        reference.end()
    assert said is not None and said.startswith("cannot be compared with what this machine computes: ")


ROUND_LINE = {"group": 0, "sitting": 0, "order": [0, 1, 2, 3], "wall_ns": [1, 2, 3, 4], "cpu_ns": [1, 2, 3, 4]}
LINES = {
    "nothing": {},
    "no times": {"group": 0, "sitting": 0, "order": [0, 1, 2, 3]},
    "a negative time": {**ROUND_LINE, "wall_ns": [1, 2, 3, -4]},
    "a time as text": {**ROUND_LINE, "wall_ns": [1, 2, 3, "4"]},
    "CPU time below zero": {**ROUND_LINE, "cpu_ns": [-1, 2, 3, 4]},
    "times too few": {**ROUND_LINE, "wall_ns": [1, 2, 3]},
    "first times too few": {**ROUND_LINE, "first_ns": [1]},
    "a model twice": {**ROUND_LINE, "order": [0, 1, 2, 2]},
    "a model too few": {**ROUND_LINE, "order": [0], "wall_ns": [1], "cpu_ns": [1]},
    "an unknown model": {**ROUND_LINE, "order": [0, 1, 2, 9]},
    "an unknown group": {**ROUND_LINE, "group": 5},
    "a group as text": {**ROUND_LINE, "group": "0"},
    "an earlier restart": {**ROUND_LINE, "sitting": -1},
    "half a pace": {**ROUND_LINE, "pace": [1]},
    "an unknown field": {**ROUND_LINE, "speed": 1},
    "a failure of nothing": {"failed": 9, "message": "m"},
    "a failure as text": {"failed": "1", "message": "m"},
    "a failure without a word": {"failed": 1},
    "a pace that is none": {"pace_after": [1, 2]},
    "a pace of unequal length": {"pace_after": {"wall_ns": [1], "cpu_ns": []}},
    "throttled as text": {"group": 0, "order": [0, 1, 2, 3], "wall_ns": [1, 2, 3, 4], "throttled": "yes"},
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_forged_line_of_a_journal_is_refused(line: dict, models: list[Model], tmp_path: Path) -> None:
    _measured("", "", models, tmp_path)
    with (tmp_path / "j").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(JournalError, match=r"j is damaged, line \d+: .*--fresh"):
        _measured("", "", models, tmp_path)


@pytest.mark.parametrize(
    "groups", [None, [], [[]], [[0, 1, 2]], [[0, 1, 2, 3, 4]], [[0, 1, 2, 3, 3]], [["0", 1, 2, 3]], {"0": [1]}]
)
def test_forged_groups_of_a_journal_are_refused(groups: object, models: list[Model], tmp_path: Path) -> None:
    _measured("", "", models, tmp_path)
    header, _, rest = (tmp_path / "j").read_text().partition("\n")
    (tmp_path / "j").write_text(json.dumps({**json.loads(header), "groups": groups}) + "\n" + rest)
    with pytest.raises(JournalError, match="j is damaged, line 1: "):
        _measured("", "", models, tmp_path)


TUNED = {
    "no event": "print('what?')",
    "another block": "say('m1', 1)",
    "another number": "say('m0', 7)",
    "a number as text": "say('m0', '1')",
    "time below zero": "say('m0', 1, seconds=-1)",
    "an error that is no text": "say('m0', 1, error=5)",
    "another event": "print(json.dumps({'event': 'failed', 'message': 'm'}))",
    "too few": "say('m0', 1)",
}


@pytest.mark.parametrize("code", TUNED.values(), ids=TUNED)
def test_a_tuner_that_says_something_else_is_stopped_early(
    code: str, models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = (
        "import json, sys; sys.stdin.readline()\n"
        "def say(key, number, **more):\n"
        "    print(json.dumps({'event': 'tuned', 'key': key, 'number': number, 'seconds': 1.0, **more}))\n" + code
    )
    monkeypatch.setattr(tuning, "Connection", lambda _: Connection([sys.executable, "-c", program]))
    device = Device(name="test", runtime="tvm", target="native")
    with pytest.raises(MeasurementError, match=r"the tuner was lost after \d of 4 .*the same command continues"):
        tuning.tune(models, device, trials=4)


def test_notes_of_tuning_that_cannot_be_read_count_for_nothing(tmp_path: Path) -> None:
    good = {"key": "a", "trials": 8}
    lines = [json.dumps(r) for r in (good, {"key": "b"}, {"key": "c", "trials": "9"}, [], {"key": "d", "trials": -1})]
    (tmp_path / "tuned.jsonl").write_bytes("\n".join([*lines, "[" * 5000, '{"key": "e", "tri']).encode() + b"\xff\n")
    assert tuned_trials(tmp_path) == {"a": 8}
    (tmp_path / "tuned.jsonl").unlink()
    assert tuned_trials(tmp_path) == {}
