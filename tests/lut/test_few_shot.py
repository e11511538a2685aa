"""A new device's latencies from known ones and a few measurements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from lut.few_shot import FewShotModel, KnownNetworks

NUM_DECISIONS, NUM_CHOICES = 8, 5
NUM_NETWORKS = 400
ROWS = np.arange(NUM_NETWORKS)
CANDIDATES, HELD_OUT = ROWS[:200], ROWS[200:]


def _choices(num: int = NUM_NETWORKS, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, NUM_CHOICES, (num, NUM_DECISIONS))


def _latency_ms(choices: NDArray[np.int64], *, seed: int, own: float = 0.5, noise: float = 0.01) -> NDArray[np.float64]:
    """Latencies of a device: costs that all devices have alike, and its own, by decision and choice."""
    common, rng = np.random.default_rng(99), np.random.default_rng(seed)
    costs = common.gamma(1.0, 1.0, (NUM_DECISIONS, NUM_CHOICES)) * np.exp(
        own * rng.standard_normal((NUM_DECISIONS, NUM_CHOICES))
    )
    sums = 1.0 + np.take_along_axis(costs.T, choices, axis=0).sum(axis=1)
    return sums * np.exp(noise * rng.standard_normal(len(choices)))


def _correlation(model: FewShotModel, target_ms: NDArray[np.float64], num: int) -> float:
    chosen = model.choose(num, among=CANDIDATES)
    predicted = model.predict_ms(chosen, target_ms[chosen].tolist())
    return float(spearmanr(predicted[HELD_OUT], target_ms[HELD_OUT]).statistic)


def _sources(choices: NDArray[np.int64], num: int) -> NDArray[np.float64]:
    return np.stack([_latency_ms(choices, seed=seed) for seed in range(1, num + 1)], axis=1)


@pytest.fixture(scope="module")
def of_six() -> FewShotModel:
    """What six known devices tell; predictions leave it as it is."""
    choices = _choices()
    return FewShotModel(KnownNetworks(source_ms=_sources(choices, 6), choices=choices))


@pytest.mark.parametrize("num_sources", [1, 6])
def test_a_new_device_is_ranked_better_than_by_the_best_known_one(num_sources: int, of_six: FewShotModel) -> None:
    choices = _choices()
    sources, target_ms = _sources(choices, num_sources), _latency_ms(choices, seed=50)
    best = max(float(spearmanr(column[HELD_OUT], target_ms[HELD_OUT]).statistic) for column in sources.T)
    model = of_six if num_sources == 6 else FewShotModel(KnownNetworks(source_ms=sources, choices=choices))
    assert _correlation(model, target_ms, 20) > best + 0.02


def test_noise_of_a_known_device_is_told_from_what_its_networks_are_made_of() -> None:
    choices = _choices()
    true_ms, noisy_ms = (_latency_ms(choices, seed=1, noise=noise) for noise in (0.0, 0.15))
    known = KnownNetworks(source_ms=noisy_ms[:, None], choices=choices)
    of_noisy, of_smoothed = (
        float(spearmanr(latencies[:, 0], true_ms).statistic) for latencies in (known.latencies, known.by_choice)
    )
    assert 1 - of_smoothed < 0.5 * (1 - of_noisy)
    unknown = KnownNetworks(source_ms=noisy_ms[:, None])
    assert np.array_equal(unknown.by_choice, unknown.latencies), "nothing to smooth by"


def test_without_choices_known_devices_are_enough() -> None:
    choices = _choices()
    sources = _sources(choices, 6)
    mixed_ms = 0.7 * sources[:, 0] + 0.6 * sources[:, 3]
    assert _correlation(FewShotModel(KnownNetworks(source_ms=sources)), mixed_ms, 20) > 0.97


def test_a_device_that_ranks_the_other_way_round_is_followed_too() -> None:
    choices = _choices()
    source = _latency_ms(choices, seed=1)
    model = FewShotModel(KnownNetworks(source_ms=source[:, None]))
    assert _correlation(model, 2 * source.max() - source, 10) > 0.95


def test_milliseconds_are_predicted_not_only_ranks(of_six: FewShotModel) -> None:
    target_ms = 7.0 * _latency_ms(_choices(), seed=50)
    chosen = of_six.choose(20, among=CANDIDATES)
    predicted = of_six.predict_ms(chosen, target_ms[chosen].tolist())
    assert np.abs(predicted / target_ms - 1)[HELD_OUT].mean() < 0.08


def test_one_measurement_that_went_wrong_is_not_followed(of_six: FewShotModel) -> None:
    target_ms = _latency_ms(_choices(), seed=50)
    chosen = of_six.choose(20, among=CANDIDATES)
    wrong = target_ms[chosen] * np.where(np.arange(20) == 7, 4.0, 1.0)
    predicted = of_six.predict_ms(chosen, wrong.tolist())
    assert spearmanr(predicted[HELD_OUT], target_ms[HELD_OUT]).statistic > 0.85
    assert predicted[chosen[7]] < 2 * target_ms[chosen[7]]


def test_what_one_device_mismeasured_is_not_chosen() -> None:
    choices = _choices()
    sources = _sources(choices, 6)
    sources[[3, 33, 133], [0, 2, 4]] *= 30
    assert not {3, 33, 133} & set(FewShotModel(KnownNetworks(source_ms=sources)).choose(20, among=CANDIDATES))


@settings(max_examples=25, deadline=None)
@given(
    num=st.integers(3, 40),
    num_sources=st.integers(1, 4),
    num_distinct=st.integers(1, 5),
    num_measured=st.integers(2, 50),
    has_choices=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_whatever_is_known_predictions_are_latencies(
    num: int, num_sources: int, num_distinct: int, num_measured: int, has_choices: bool, seed: int
) -> None:
    """Ties, devices on which all networks take equally long, and more to measure than there is among them."""
    rng = np.random.default_rng(seed)
    source_ms = rng.choice(10 ** rng.uniform(-3, 3, num_distinct), (num, num_sources))
    known = KnownNetworks(source_ms=source_ms, choices=_choices(num, seed) if has_choices else None)
    model = FewShotModel(known, seed=seed)
    among = rng.permutation(num)[: max(2, num // 2)]
    chosen = model.choose(num_measured, among=among)
    assert len(chosen) == len(set(chosen)) == min(num_measured, len(among)) and set(chosen) <= set(among.tolist())
    measured_ms = rng.choice(10 ** rng.uniform(-3, 3, 3), len(chosen)).tolist()
    predicted = model.predict_ms(chosen, measured_ms)
    assert predicted.shape == (num,) and np.isfinite(predicted).all() and (predicted > 0).all()


def test_the_same_seed_gives_the_same() -> None:
    choices = _choices()
    known = KnownNetworks(source_ms=_sources(choices, 2), choices=choices)
    first, second = (FewShotModel(known, seed=5) for _ in range(2))
    assert (chosen := first.choose(10, among=CANDIDATES)) == second.choose(10, among=CANDIDATES)
    assert chosen[:5] == first.choose(5, among=CANDIDATES), "the most telling first"
    ms = np.linspace(1, 2, 10).tolist()
    assert (first.predict_ms(chosen, ms) == second.predict_ms(chosen, ms)).all()


def test_what_is_no_latency_is_refused() -> None:
    for source_ms in (np.zeros((3, 0)), np.zeros(3), np.zeros((3, 1)), np.full((3, 1), np.nan)):
        with pytest.raises(ValueError, match="expected latencies"):
            KnownNetworks(source_ms=source_ms)
    with pytest.raises(ValueError, match="expected choices of 3 networks, found those of 4"):
        KnownNetworks(source_ms=np.ones((3, 1)), choices=_choices(4))
    model = FewShotModel(KnownNetworks(source_ms=np.ones((3, 1))))
    with pytest.raises(ValueError, match=r"expected two measured networks or more, found 1; measure more"):
        model.predict_ms([0], [1.0])
    with pytest.raises(ValueError, match="above zero on the new device"):
        model.predict_ms([0, 1], [1.0, 0.0])
