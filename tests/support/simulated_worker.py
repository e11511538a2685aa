"""Simulated machines as devices: what `--devices FILE --device NAME` reaches, without anything being patched.

A test writes the devices file and may change what the machine does, between two commands or from some round on:

    sim = write_devices(tmp_path / "devices.yaml", sim=ZEN1)["sim"]
    run_cli("profile", "--devices", tmp_path / "devices.yaml", "--device", "sim", ...)
    sim.slow_down(1.3)                     # everything takes 1.3 times as long from now on, CPU time too
    sim.slow_down(1.3, cpu=False)          # wall-clock time only: something else has the core meanwhile
    sim.slow_down(1.3, after_rounds=20)    # once that many more rounds have been asked for
    sim.slow_down(1.0)                     # as it was
    sim.num_rounds                         # asked for so far, by all commands together

Started as a program by what the devices file says, it loads the real worker's files, its last arguments, and serves
commands with them: models are opened and checked as ever. But the worker's clock is replaced by one that stands still
except while a model runs, and then moves on by what the run takes on the machine, found from the ONNX file. So the
samples do not depend on the machine that the test runs on.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from simulated_disturbance import conditions, restart_factors, samples_ns
from simulated_machine import Machine, from_json, to_json
from simulated_onnx import onnx_layers
from simulated_run import NUM_RUNS, simulate

from safe_files.writing import write_text

MAX_VISITS = 100_000
"""Visits of one worker whose conditions are drawn."""


PACE_NS = 300_000
"""Of the worker's fixed piece of work on a machine that nothing slows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedDevice:
    """One device of the file, and the folder that its workers keep their state in."""

    state: Path

    @property
    def num_rounds(self) -> int:
        """Rounds asked for so far, by all workers together."""
        path = self.state / "rounds"
        return int(path.read_text(encoding="utf-8")) if path.exists() else 0

    def slow_down(self, factor: float, *, cpu: bool = True, after_rounds: int = 0) -> None:
        """Have every run take `factor` times as long, and its CPU time too if `cpu`, after so many more rounds.

        What was said before holds until then, and is forgotten after.
        """
        steps = [] if after_rounds == 0 else self._steps()
        steps.append({"from_round": self.num_rounds + after_rounds, "factor": factor, "cpu": cpu})
        write_text(self.state / "slow_down.json", json.dumps(steps))

    def factors(self) -> tuple[float, float]:
        """What wall-clock and CPU times are multiplied with in the next round."""
        reached = [step for step in self._steps() if step["from_round"] <= self.num_rounds]
        return (reached[-1]["factor"], reached[-1]["factor"] if reached[-1]["cpu"] else 1.0) if reached else (1.0, 1.0)

    def count_round(self) -> None:
        """Note that one more round was asked for."""
        write_text(self.state / "rounds", str(self.num_rounds + 1))

    def _steps(self) -> list[dict[str, Any]]:
        path = self.state / "slow_down.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_devices(path: Path, **machines: Machine) -> dict[str, SimulatedDevice]:
    """Write a devices file in which each name stands for a machine; the devices by name."""
    settings, devices = {}, {}
    for name, machine in machines.items():
        state = path.parent / f"{name}-state"
        state.mkdir(exist_ok=True)
        devices[name] = SimulatedDevice(state=state)
        command = [sys.executable, str(Path(__file__).resolve()), to_json(machine), str(state)]
        settings[name] = {"description": f"simulated {machine.name}", "runtime": "onnxruntime", "command": command}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return devices


class SimulatedClock:
    """Stands in for the module `time` in a worker: tells what time it is on the machine."""

    def __init__(self, machine: Machine, device: SimulatedDevice) -> None:
        self._machine = machine
        self._device = device
        self._rng = np.random.default_rng([device.num_rounds, 1])
        self._conditions = conditions(machine, MAX_VISITS, self._rng)
        self._visit = self._runs_of_visit = 0
        self._visited: int | None = None
        self._factors = (1.0, 1.0)
        self._wall_ns = self._cpu_ns = 0.0

    def perf_counter_ns(self) -> int:
        """Wall-clock time."""
        return round(self._wall_ns)

    def thread_time_ns(self) -> int:
        """CPU time."""
        return round(self._cpu_ns)

    def sleep(self, _seconds: float) -> None:
        """Nothing waits on a simulated machine."""

    def fastest_pace(self) -> tuple[int, int]:
        """Wall-clock and CPU nanoseconds of the worker's fixed piece of work."""
        wall, cpu = self._device.factors()
        noise = self._rng.uniform(1.0, 1.02)
        return round(PACE_NS * wall * noise), round(PACE_NS * cpu * noise)

    def begin_round(self) -> None:
        """Look up how slow the machine is by now."""
        self._factors = self._device.factors()
        self._device.count_round()
        self._visited = None

    def runner(self, index: int, path: str) -> Callable[[], None]:
        """What running the model of that file does: time passes."""
        conditions_ns = simulate(self._machine, onnx_layers(Path(path))).conditions_ns()
        conditions_ns *= restart_factors(self._machine, (), self._rng)
        return lambda: self._run(index, conditions_ns)

    def _run(self, index: int, conditions_ns: np.ndarray) -> None:
        if index != self._visited:
            self._visited, self._runs_of_visit = index, 0
            self._visit = (self._visit + 1) % MAX_VISITS
        is_slow, is_busy = self._conditions[:, self._visit]
        run = min(self._runs_of_visit, NUM_RUNS - 1)
        run_ns = conditions_ns[int(is_slow), int(is_busy), run]
        wall_ns, cpu_ns = samples_ns(self._machine, np.asarray(run_ns), np.asarray(is_busy), self._rng)
        self._wall_ns += self._factors[0] * float(wall_ns)
        self._cpu_ns += self._factors[1] * float(cpu_ns)
        self._runs_of_visit += 1


class _Unthrottled:
    """Stands in for what watches the temperature of the machine that the test runs on."""

    def has_happened(self) -> bool:
        return False


def serve(arguments: Sequence[str]) -> None:
    """Serve commands as the worker in the files named last, with a simulated machine's clock."""
    machine_json, state, *_, worker_file, machine_file, _runtime_file = arguments
    machine = from_json(machine_json)
    clock = SimulatedClock(machine, SimulatedDevice(state=Path(state)))
    spec = importlib.util.spec_from_file_location("worker", worker_file)
    assert spec is not None and spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    load, open_model, visit_all = worker.load, worker.Worker.open, worker.visit_all

    def load_simulated(path: Path) -> Any:
        module = load(path)
        if path == Path(machine_file):
            module.time = clock
            module.fastest_pace = clock.fastest_pace
            module.cpu_model = lambda: f"simulated {machine.name}"
            module.Throttling = _Unthrottled
        return module

    def open_simulated(self: Any, index: int, path: str) -> object:
        answer = open_model(self, index, path)
        if index in self.runs:
            self.runs[index] = clock.runner(index, path)
        return answer

    def visit_simulated(order: list[int], runs: dict[int, Any], **settings: Any) -> object:
        clock.begin_round()
        return visit_all(order, runs, **settings)

    worker.time = clock
    worker.load, worker.visit_all = load_simulated, visit_simulated
    worker.Worker.open = open_simulated
    worker.Worker.inspect = lambda *_: {"event": "inspected", "operations": [], "energy_mj": None}
    worker.main()


if __name__ == "__main__":
    serve(sys.argv[1:])
