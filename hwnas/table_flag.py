"""The flag --lut: the table of one device, or one with a budget of its own for each of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import RequestError
from hwnas.quantities import Budget

FLAG = "--lut"


def table_settings(given: Sequence[Path], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the tables of a command line stand for, by dotted name.

    The first is the run's first device's; where a budget stands beside it, the others are all further devices.

    Args:
        given: files, each alone or as FILE=BUDGET.
        flags: values of the other flags by parameter's name; None where a flag was not given.

    Raises:
        RequestError: a budget is none, is missing or given twice, or a table is given twice.
    """
    pairs = [_parted(str(text)) for text in given]
    files = [file for file, _ in pairs]
    places = [Path(file).resolve() for file in files]
    if twice := [file for file, place in zip(files, places, strict=True) if places.count(place) > 1]:
        raise RequestError(f"{FLAG} {twice[-1]} was given twice; leave one of the two out")
    (first, budget), *further = pairs
    beside = flags.get("max_latency")
    if budget is not None and beside is not None:
        raise RequestError(
            f"--max-latency {beside} and {FLAG} {first}={budget} are both the budget of {first}; leave one of them out"
        )
    without = [file for file, own in further if own is None]
    if further and budget is None and beside is None:
        without = [first, *without]
    if without:
        raise RequestError(
            f"{FLAG} {without[0]}: expected a budget of its own beside other tables, found none; "
            f"give {FLAG} {without[0]}=20ms, or a share such as {FLAG} {without[0]}=60%"
        )
    if budget is None and not further:
        return {"lut": Path(first)}
    fleet = [{"lut": file, "max_latency": own} for file, own in further]
    return {"lut": Path(first), "fleet": fleet} | ({} if budget is None else {"max_latency": budget})


def _parted(text: str) -> tuple[str, str | None]:
    """Return a file and the budget behind it; None where none is.

    Raises:
        RequestError: what stands behind the last = is no budget, and no such file is there.
    """
    file, equals, budget = text.rpartition("=")
    if not equals or Path(text).exists():
        return text, None
    try:
        Budget.parse(budget)
    except RequestError as error:
        raise RequestError(f"{FLAG} {text}: {error}") from error
    if not file:
        raise RequestError(f"{FLAG} {text}: expected a table before the budget, such as {FLAG} a.json={budget}")
    return file, budget
