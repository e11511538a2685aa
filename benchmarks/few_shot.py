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
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from lut.few_shot import FewShotModel, KnownNetworks

NUM_CANDIDATES, NUM_HELD_OUT = 900, 1000
LEFT_OUT = 0.1
"""Share of the held-out networks left out at either end."""

Latencies = dict[str, float]
"""Milliseconds by network, as its file writes it."""


class SourcesError(ValueError):
    """Raised where a folder of sources cannot be used."""


def main() -> None:
    """Print the mean correlation of each target device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder with DEVICE.npz or DEVICE.csv")
    parser.add_argument("--target", help="new devices, comma-separated; the others are known [each in turn]")
    parser.add_argument("--networks", type=int, nargs="+", default=[10, 20], help="measurements on the new device")
    parser.add_argument("--seeds", type=int, default=10, help="draws of candidates and held-out networks")
    parser.add_argument("--json", type=Path, help="write the figures of every seed there")
    options = parser.parse_args()
    if min(options.networks) < 2 or options.seeds < 1:
        parser.error("expected --networks of 2 or more and --seeds of 1 or more")
    try:
        networks, latency_ms = read_folder(options.sources)
        targets = chosen_targets(sorted(latency_ms), options.target)
        found = evaluated(networks, latency_ms, targets, numbers=options.networks, num_seeds=options.seeds)
    except SourcesError as error:
        parser.error(str(error))
    print(f"{len(networks)} networks on {len(latency_ms)} devices, {options.seeds} seeds: mean Spearman correlation")
    width = max(map(len, [*targets, "mean"]))
    print(f"{'new device':{width}}  " + "  ".join(f"{number:>5} networks" for number in options.networks))
    for name in targets:
        print(_row(name, width, [np.mean(found[name][number]) for number in options.networks]))
    means = [np.mean([np.mean(found[name][number]) for name in targets]) for number in options.networks]
    print(_row("mean", width, means))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def read_folder(folder: Path) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Return the networks that every device of a folder has a latency of, and their milliseconds by device.

    Raises:
        SourcesError: there are fewer than two devices, a file is not of the format, or nothing is common to all.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".npz", ".csv"))
    if len({p.stem for p in paths}) < 2 or len({p.stem for p in paths}) < len(paths):
        raise SourcesError(f"expected a file for each of two devices or more in {folder}, found {len(paths)} files")
    devices = {p.stem: _read_npz(p) if p.suffix == ".npz" else _read_csv(p) for p in paths}
    first, *others = devices.values()
    common = [network for network in first if all(network in other for other in others)]
    if len(common) < 20:
        raise SourcesError(f"expected networks that all {len(devices)} devices have, found {len(common)}")
    return common, {name: np.array([found[n] for n in common]) for name, found in devices.items()}


def _read_npz(path: Path) -> Latencies:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, latency_ms = arrays["architectures"], arrays["latency_ms"].astype(np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SourcesError(f"expected arrays architectures and latency_ms in {path}: {error}") from error
    if names.ndim == 2:
        names = np.array(["-".join(map(str, row)) for row in names.tolist()])
    if names.ndim != 1 or latency_ms.shape != names.shape:
        raise SourcesError(f"expected a latency for each architecture in {path}, found {latency_ms.shape}")
    return _usable(names.tolist(), latency_ms.tolist())


def _read_csv(path: Path) -> Latencies:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(row["architecture"], float(row["latency_ms"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SourcesError(f"expected columns architecture and latency_ms in {path}: {error!r}") from error
    return _usable([name for name, _ in rows], [ms for _, ms in rows])


def _usable(names: Sequence[str], latency_ms: Sequence[float]) -> Latencies:
    """Return the latencies that are above zero; others were not measured."""
    return {str(name): ms for name, ms in zip(names, latency_ms, strict=True) if np.isfinite(ms) and ms > 0}


def chosen_targets(devices: Sequence[str], given: str | None) -> list[str]:
    """Return the new devices.

    Raises:
        SourcesError: one is not there, or no other is left to be known.
    """
    targets = list(devices) if given is None else given.split(",")
    if unknown := sorted(set(targets) - set(devices)):
        raise SourcesError(f"there is no {unknown[0]}; expected some of {', '.join(devices)}")
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
    """Return the correlation of every seed by target and number of measured networks."""
    choices = as_choices(networks)
    found: dict[str, dict[int, list[float]]] = {name: {number: [] for number in numbers} for name in targets}
    for name in targets:
        new = set(targets) if len(targets) < len(latency_ms) else {name}
        sources = np.stack([ms for device, ms in latency_ms.items() if device not in new], axis=1)
        for seed in range(num_seeds):
            rows = np.random.default_rng(seed).permutation(len(networks))[: NUM_CANDIDATES + NUM_HELD_OUT]
            candidates, held_out = np.split(
                np.arange(len(rows)), [round(len(rows) * NUM_CANDIDATES / (NUM_CANDIDATES + NUM_HELD_OUT))]
            )
            truth = latency_ms[name][rows]
            cut = round(LEFT_OUT * len(held_out))
            held_out = held_out[np.argsort(truth[held_out])][cut : len(held_out) - cut]
            known = KnownNetworks(source_ms=sources[rows], choices=None if choices is None else choices[rows])
            model = FewShotModel(known, seed=seed)
            for number in numbers:
                chosen = model.choose(number, among=candidates)
                predicted = model.predict_ms(chosen, truth[chosen].tolist())
                found[name][number].append(float(spearmanr(predicted[held_out], truth[held_out]).statistic))
    return found


def _row(name: str, width: int, values: Sequence[float]) -> str:
    return f"{name:{width}}  " + "  ".join(f"{value:14.3f}" for value in values)


if __name__ == "__main__":
    main()
