"""The further devices of a run: their tables, their budgets, and how networks are measured there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwnas.config import FleetDevice, RunConfig
from hwnas.errors import RequestError
from hwnas.pipeline.device import device_of
from hwnas.pipeline.run import Run
from hwnas.pipeline.speeds import known_speed, measured_speed
from hwnas.progress import Reporter
from hwnas.quantities import MEDIAN, format_ms
from hwnas.stages.latency import FleetMember, Latency, LatencyRequest, latency_of
from hwnas.stages.setup import Setup
from hwnas.stages.speed import Speed
from hwnas.stages.table import require_acceptable
from hwnas.trust import describe_certificate, describe_tail, required_tail, tail_doubt
from lut import LatencyModel


def require_fleet(run: Run) -> None:
    """Make sure of a run's further devices and of their tables, before anything is measured or trained for them.

    Raises:
        RequestError: a table is there twice, is not good enough or of another precision, or the devices do not go
            together.
        TableError: a table cannot be read, or does not fit the space.
    """
    if not run.config.fleet:
        return
    _require_distinct_tables(run.config)
    setups = _setups(run)
    for number, (setup, table) in enumerate(zip(setups.values(), run.fleet_tables, strict=True)):
        place = str(run.fleet_table_place(number))
        require_acceptable(setup, table, run.config.trust, name=place)
        LatencyModel(run.space, table, name=place)
    _require_together(run, setups)


def with_fleet(run: Run, first: Latency, *, is_read: bool = False) -> Latency:
    """Return the predictions and the budgets of a run with those of its further devices.

    Args:
        first: of the run's first device.
        is_read: whether the run has searched: nothing is measured or said of the tables any more.

    Raises:
        RequestError: a table does not tell the percentile of the budgets, or a budget is below the fastest
            architecture.
        TableError: a table does not fit the space.
    """
    if not run.config.fleet:
        return first
    members = tuple(
        _member(run, number, name, setup, is_read=is_read) for number, (name, setup) in enumerate(_setups(run).items())
    )
    flag = first.flag if run.config.lut is None else _flag(run.config.lut.name)
    return replace(first, flag=flag, fleet=members)


def _require_distinct_tables(config: RunConfig) -> None:
    files = [*([] if config.lut is None else [config.lut]), *(device.lut for device in config.fleet)]
    places = [file.resolve() for file in files]
    if twice := [file for file, place in zip(files, places, strict=True) if places.count(place) > 1]:
        raise RequestError(
            f"fleet: expected a table of its own for each device, found {twice[-1]} twice; leave one of the two out"
        )


def _setups(run: Run) -> dict[str, Setup]:
    """Return how networks are measured on each further device, by the device's name, in the order of the settings."""
    config, tables = run.config, run.fleet_tables
    own = [given.device or table.provenance.device["name"] for given, table in zip(config.fleet, tables, strict=True)]
    devices = [
        device_of(replace(config, device=given.device, lut=given.lut), table, flag="fleet.device")
        for given, table in zip(config.fleet, tables, strict=True)
    ]
    names = distinct_names([run.device_name, *own])[1:]
    return {name: replace(run.setup, device=device) for name, device in zip(names, devices, strict=True)}


def distinct_names(devices: Sequence[str]) -> list[str]:
    """Return names for devices that differ and may be part of a file's name, in the same order."""
    found: list[str] = []
    for device in devices:
        plain = re.sub(r"[^\w.-]+", "-", device)
        number, name = 1, plain
        while name in found:
            number += 1
            name = f"{plain}-{number}"
        found.append(name)
    return found


def _flag(file: str) -> str:
    return f"--lut {file}=BUDGET"


def _member(run: Run, number: int, name: str, setup: Setup, *, is_read: bool) -> FleetMember:
    config, given, reporter = run.config, run.config.fleet[number], run.reporter
    table, place = run.fleet_tables[number], str(run.fleet_table_place(number))
    if not is_read:
        reporter.line(f"{name}: {describe_certificate(table)}")
    then = LatencyModel(run.space, table, name=place)
    speed = known_speed(run, table, number)
    if speed is None:
        can_measure = setup.device.is_measurable and not is_read
        speed = (
            measured_speed(run, setup, then, max_latency=given.max_latency, number=number) if can_measure else Speed()
        )
    tail = None
    if config.percentile != MEDIAN:
        tail = required_tail(table, run.space, config.percentile, config.trust, name=place)
    request = LatencyRequest(max_latency=given.max_latency, confidence=config.search.confidence)
    try:
        latency = latency_of(then, speed, request, tail=tail, doubt=None, reporter=Reporter(is_quiet=True))
    except RequestError as error:
        raise RequestError(f"{name}, {given.lut.name}: {error}") from error
    latency = replace(latency, flag=_flag(given.lut.name))
    member = FleetMember(name=name, setup=setup, latency=latency, may_be_unmeasured=config.trust.allow_unmeasured)
    if not is_read:
        if tail is not None:
            reporter.line(f"{name}: {describe_tail(tail)}")
            if (doubt := tail_doubt(tail, config.trust)) is not None:
                reporter.warn(f"{name}: the table {doubt}; its budget is kept by prediction and as measured")
        _describe(run, member, given)
    return member


def _describe(run: Run, member: FleetMember, given: FleetDevice) -> None:
    """Say what the budget on a device is, and where nothing is measured there."""
    latency, percentile = member.latency, run.config.percentile
    (_, fastest_ms), (_, slowest_ms) = latency.model.extreme(), latency.model.extreme(slowest=True)
    budget = "no budget" if latency.max_ms > slowest_ms else f"a budget of {format_ms(latency.max_ms, percentile)}"
    run.reporter.line(
        f"{member.name}: {budget} ({given.max_latency}); the fastest network of this space takes "
        f"{format_ms(fastest_ms, percentile)} there, the slowest {format_ms(slowest_ms, percentile)}"
    )
    if not member.is_measured:
        run.reporter.warn(
            f"nothing is measured on {member.name}: {given.lut} was published, and its budget is kept by its "
            "predictions alone; fleet.device names a device to measure on"
        )


def _require_together(run: Run, setups: Mapping[str, Setup]) -> None:
    """Raise RequestError for devices on which one network cannot be measured in one run."""
    measured = {name: setup.device for name, setup in setups.items() if setup.device.is_measurable}
    if measured and not run.device.is_measurable:
        raise RequestError(
            f"nothing can be measured on {run.device.name}, the first device, but on {next(iter(measured))}: give a "
            "table of a device that can be measured first"
        )
    for name, device in measured.items():
        if device.batch != run.device.batch:
            raise RequestError(
                f"expected one batch size on all devices, found {run.device.batch} on {run.device.name} and "
                f"{device.batch} on {name}: give tables of one batch size"
            )
