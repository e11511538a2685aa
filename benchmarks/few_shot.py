"""How well the ranks of networks on a new device follow from other devices' latencies and a few measurements.

Takes a folder with a file for each device, DEVICE.npz or DEVICE.csv (docs/latency.md says what is in them). Each device
in turn is the new one and all others are known, or those given with --target are new and only the rest is known. From
900 networks drawn by the seed, lut.few_shot chooses those that it is told the new device's latencies of; the figure is
Spearman's rank correlation of predicted and measured latencies among 1,000 others, without the fastest and the slowest
tenth on the new device, as in HELP (Lee et al. 2021). Where a folder has fewer networks, both are cut alike.

    python benchmarks/few_shot.py --sources latencies/nasbench201
    python benchmarks/few_shot.py --sources latencies/fbnet --target fpga,raspi4,eyeriss --networks 10 20 --seeds 30
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import arguments
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from lut.few_shot import FewShotModel, KnownNetworks

NUM_CANDIDATES, NUM_HELD_OUT = 900, 1000
LEFT_OUT = 0.1
"""Share of the held-out networks left out at either end."""

NUM_MEASURED = (10, 20)
"""Measurements on the new device, unless told otherwise; fewer where a folder has too few networks."""

LEAST_COMMON = 20
"""Networks that all devices have to have a latency of."""

COLUMNS = ("architecture", "latency_ms")

NPZ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged npz file raises: zipfile's for encrypted archives is RuntimeError, numpy's for headers the
tokenizer's, and for arrays that cannot be that large MemoryError."""

Latencies = dict[str, float]
"""Milliseconds by network, as its file writes it."""


class SourcesError(ValueError):
    """Raised where a folder of sources cannot be used."""


def main() -> None:
    """Print the mean correlation of each target device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder with DEVICE.npz or DEVICE.csv")
    parser.add_argument("--target", help="new devices, comma-separated; the others are known [each in turn]")
    parser.add_argument("--networks", type=int, nargs="+", help="measurements on the new device [10 20]")
    parser.add_argument("--seeds", type=int, default=10, help="draws of candidates and held-out networks")
    parser.add_argument("--json", type=arguments.file_to_write, help="write the figures of every seed there")
    options = parser.parse_args()
    if min(options.networks or NUM_MEASURED) < 2 or options.seeds < 1:
        parser.error("expected --networks of 2 or more and --seeds of 1 or more")
    try:
        networks, latency_ms = read_folder(options.sources)
        targets = chosen_targets(sorted(latency_ms), options.target)
        numbers = chosen_numbers(len(networks), options.networks)
        found = evaluated(networks, latency_ms, targets, numbers=numbers, num_seeds=options.seeds)
    except SourcesError as error:
        parser.error(str(error))
    print(f"{len(networks)} networks on {len(latency_ms)} devices, {options.seeds} seeds: mean Spearman correlation")
    width = max(map(len, [*targets, "mean"]))
    print(f"{'new device':{width}}  " + "  ".join(f"{number:>5} networks" for number in numbers))
    for name in targets:
        print(_row(name, width, [np.mean(found[name][number]) for number in numbers]))
    means = [np.mean([np.mean(found[name][number]) for name in targets]) for number in numbers]
    print(_row("mean", width, means))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def read_folder(folder: Path) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Return the networks that every device of a folder has a latency of, and their milliseconds by device.

    Raises:
        SourcesError: there are fewer than two devices, a device has two files, a file is not of the format, too few
            networks are common to all, or a device takes equally long for all of them.
    """
    by_device = _files(folder)
    devices = {name: _usable(path) for name, path in by_device.items()}
    first, *others = devices.values()
    common = [network for network in first if all(network in other for other in others)]
    if len(common) < LEAST_COMMON:
        examples = [f"{by_device[name].name} has {next(iter(found), None)!r}" for name, found in devices.items()]
        raise SourcesError(
            f"expected {LEAST_COMMON} networks or more that all {len(devices)} devices have a latency above zero of, "
            f"found {len(common)}; {', '.join(examples)}"
        )
    latency_ms = {name: np.array([found[network] for network in common]) for name, found in devices.items()}
    for name, values in latency_ms.items():
        if np.ptp(values) == 0:
            raise SourcesError(
                f"expected latencies that differ in {by_device[name]}, found {values[0]:g} ms for all {len(common)} "
                "common networks: leave the device out"
            )
    return common, latency_ms


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by device."""
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".npz", ".csv"))
    if len(paths) < 2:
        raise SourcesError(f"expected a file for each of two devices or more in {folder}, found {len(paths)} files")
    by_device: dict[str, Path] = {}
    for path in paths:
        if (other := by_device.setdefault(path.stem, path)) != path:
            raise SourcesError(
                f"expected one file for each device in {folder}, found {other.name} and {path.name}: leave one out"
            )
    return by_device


def _usable(path: Path) -> Latencies:
    """Return the latencies of a file that are above zero, medians where there are several; others were not measured.

    Raises:
        SourcesError: it is not of the format.
    """
    found: dict[str, list[float]] = {}
    for name, ms in _read_npz(path) if path.suffix.lower() == ".npz" else _read_csv(path):
        if np.isfinite(ms) and ms > 0:
            found.setdefault(name, []).append(ms)
    if several := [name for name, values in found.items() if len(values) > 1]:
        print(f"{path}: {len(several)} networks are there several times: medians count ({several[0]})", file=sys.stderr)
    return {name: float(np.median(values)) for name, values in found.items()}


def _read_npz(path: Path) -> Iterable[tuple[str, float]]:
    """Return network and milliseconds of every row."""
    try:
        with zipfile.ZipFile(path) as archive:
            names, latency_ms = (_array(archive, name) for name in ("architectures", "latency_ms"))
        if latency_ms.dtype.kind not in "fiu":
            raise ValueError(f"found latencies of {latency_ms.dtype}, expected real numbers")
        names = names.astype(str)
    except NPZ_ERRORS as error:
        raise SourcesError(f"expected arrays architectures and latency_ms in {path}: {error}") from error
    if names.ndim == 2:
        names = np.array(["-".join(row) for row in names.tolist()])
    if names.ndim != 1 or latency_ms.shape != names.shape:
        raise SourcesError(f"expected a latency for each architecture in {path}, found {latency_ms.shape}")
    return zip(names.tolist(), latency_ms.astype(np.float64).tolist(), strict=True)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _read_csv(path: Path) -> Iterator[tuple[str, float]]:
    """Yield network and milliseconds of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            header = list(rows.fieldnames or ())
            if any(header.count(name) != 1 for name in COLUMNS):
                raise SourcesError(
                    f"expected columns architecture and latency_ms, each once, in {path}, found {header}"
                )
            for row in rows:
                yield row["architecture"], _csv_latency(row, f"{path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourcesError(f"expected columns architecture and latency_ms in {path}: {error}") from error


def _csv_latency(row: dict[str | None, Any], where: str) -> float:
    """Return the milliseconds of a row as csv.DictReader gives it: values beyond the columns are under None."""
    if None in row:
        raise SourcesError(f"{where}: expected as many values as columns, found more; quote texts that have commas")
    try:
        return float(row["latency_ms"])
    except (TypeError, ValueError):
        raise SourcesError(
            f"{where}: expected a number in latency_ms, found {row['latency_ms']!r}; nan stands for none"
        ) from None


def chosen_numbers(num_networks: int, given: Sequence[int] | None) -> list[int]:
    """Return how many networks are measured on the new device: those asked for, else the usual ones that there are.

    Raises:
        SourcesError: more are asked for than there are candidates.
    """
    most = num_candidates(min(num_networks, NUM_CANDIDATES + NUM_HELD_OUT))
    if given is None:
        numbers = [min(number, most) for number in NUM_MEASURED]
        if most < max(NUM_MEASURED):
            print(f"{num_networks} networks leave {most} to choose from: at most {most} are measured", file=sys.stderr)
        return list(dict.fromkeys(numbers))
    if max(given) > most:
        raise SourcesError(
            f"expected --networks of {most} at most, which {num_networks} networks leave to choose from, found "
            f"{max(given)}: ask for fewer"
        )
    return list(dict.fromkeys(given))


def num_candidates(num_drawn: int) -> int:
    """Return how many of the networks drawn may be measured; all others are held out."""
    return round(num_drawn * NUM_CANDIDATES / (NUM_CANDIDATES + NUM_HELD_OUT))


def chosen_targets(devices: Sequence[str], given: str | None) -> list[str]:
    """Return the new devices.

    Raises:
        SourcesError: one is not there, or no other is left to be known.
    """
    targets = list(devices) if given is None else list(dict.fromkeys(name.strip() for name in given.split(",")))
    if unknown := sorted(set(targets) - set(devices)):
        raise SourcesError(f"there is no device {unknown[0]!r}; expected some of {', '.join(devices)}")
    if given is not None and set(targets) == set(devices):
        raise SourcesError("expected a device that is no target, found none; leave --target out for each in turn")
    return targets


def as_choices(networks: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the words of the networks' texts, numbered, [num_networks, num_words]; None where they are not alike.

    Words that are the same in all networks tell nothing and are left out.
    """
    words = [re.findall(r"\w+", text) for text in networks]
    if len({len(found) for found in words}) != 1:
        return None
    numbers = {word: number for number, word in enumerate(sorted(set().union(*words)))}
    table = np.array([[numbers[word] for word in found] for found in words])
    varying = table[:, (table != table[0]).any(axis=0)]
    return varying if varying.shape[1] else None


def evaluated(
    networks: Sequence[str],
    latency_ms: dict[str, NDArray[np.float64]],
    targets: Sequence[str],
    *,
    numbers: Sequence[int],
    num_seeds: int,
) -> dict[str, dict[int, list[float]]]:
    """Return the correlation of every seed by target and number of measured networks.

    Raises:
        SourcesError: a device takes equally long for all networks held out, or is predicted to: there are no ranks.
    """
    choices = as_choices(networks)
    found: dict[str, dict[int, list[float]]] = {name: {number: [] for number in numbers} for name in targets}
    for name in targets:
        new = set(targets) if len(targets) < len(latency_ms) else {name}
        sources = np.stack([ms for device, ms in latency_ms.items() if device not in new], axis=1)
        for seed in range(num_seeds):
            rows = np.random.default_rng(seed).permutation(len(networks))[: NUM_CANDIDATES + NUM_HELD_OUT]
            candidates, held_out = np.split(np.arange(len(rows)), [num_candidates(len(rows))])
            truth = latency_ms[name][rows]
            cut = round(LEFT_OUT * len(held_out))
            held_out = held_out[np.argsort(truth[held_out])][cut : len(held_out) - cut]
            known = KnownNetworks(source_ms=sources[rows], choices=None if choices is None else choices[rows])
            model = FewShotModel(known, seed=seed)
            for number in numbers:
                chosen = model.choose(number, among=candidates)
                predicted = model.predict_ms(chosen, truth[chosen].tolist())
                found[name][number].append(_correlation(predicted[held_out], truth[held_out], f"{name}, seed {seed}"))
    return found


def _correlation(predicted_ms: NDArray[np.float64], truth_ms: NDArray[np.float64], where: str) -> float:
    if np.ptp(predicted_ms) == 0 or np.ptp(truth_ms) == 0:
        raise SourcesError(
            f"{where}: expected latencies that differ, found all {len(truth_ms)} networks held out equally fast, by "
            "measurement or prediction: leave the device out, or have more networks"
        )
    return float(spearmanr(predicted_ms, truth_ms).statistic)


def _row(name: str, width: int, values: Sequence[float]) -> str:
    return f"{name:{width}}  " + "  ".join(f"{value:14.3f}" for value in values)


if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
