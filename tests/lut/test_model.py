"""Predictions from tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import bare_table, small_spec

from lut import LatencyModel, MissingLatencyError, TableError, load_table, save_table
from profilers import Measurement
from search_spaces import SearchSpace, SpaceError, make_space


def test_prediction_is_the_sum_of_the_blocks(space: SearchSpace) -> None:
    table = bare_table(space)
    model = LatencyModel(space, table)
    architectures = space.sample_many(30, np.random.default_rng(0))
    expected = [
        sum(table.latency_ms[b.key] for b in space.blocks(tuple(a)) if not b.is_identity)
        for a in architectures.tolist()
    ]
    np.testing.assert_allclose(model.predict_ms(architectures), expected, rtol=1e-12)
    assert model.predict_one_ms(tuple(architectures[0].tolist())) == pytest.approx(expected[0])


def test_same_network_has_the_same_latency(space: SearchSpace) -> None:
    model = LatencyModel(space, bare_table(space))
    for architecture in space.sample_many(50, np.random.default_rng(1)).tolist():
        form = space.canonical(tuple(architecture))
        assert model.predict_one_ms(form) == pytest.approx(model.predict_one_ms(tuple(architecture)))


def test_extremes_bound_all_samples(space: SearchSpace) -> None:
    model = LatencyModel(space, bare_table(space))
    predicted = model.predict_ms(space.sample_many(2000, np.random.default_rng(2)))
    (fastest, fastest_ms), (slowest, slowest_ms) = model.extreme(), model.extreme(slowest=True)
    assert fastest_ms <= predicted.min() < predicted.max() <= slowest_ms
    assert model.predict_one_ms(fastest) == fastest_ms
    assert model.predict_one_ms(slowest) == slowest_ms


def test_other_space_is_refused_with_the_command_that_helps(space: SearchSpace) -> None:
    other = make_space(small_spec(space.spec.name, input_size=20))
    with pytest.raises(TableError, match=r"at 1x16x16, .* this search is for .* at 1x20x20.*hwnas profile --space"):
        LatencyModel(other, bare_table(space))


@pytest.mark.parametrize("error", ["crashed", None])
def test_missing_block_is_named(space: SearchSpace, error: str | None) -> None:
    table = bare_table(space)
    lost, *others = table.entries
    entries = others if error is None else [Measurement(key=lost.key, error=error), *others]
    with pytest.raises(MissingLatencyError) as caught:
        LatencyModel(space, replace(table, entries=tuple(entries)), name="t.json")
    message = str(caught.value)
    assert f"no latency for {lost.key} in t.json (1 of" in message
    assert (error or "never measured") in message
    assert f"hwnas profile --space {space.spec.name} --input-size 16" in message
    assert message.endswith("--device cpu --threads 1 --batch 1 --precision fp32 -o t.json --fresh")


def test_architectures_that_are_none_and_tables_by_a_text(tmp_path: Path) -> None:
    space = make_space(small_spec("nasbench-macro"))
    save_table(bare_table(space), str(tmp_path / "t.json"))
    model = LatencyModel(space, load_table(str(tmp_path / "t.json")))
    good = space.sample(np.random.default_rng(0))
    for wrong in ([good[:-1]], [(-1, *good[1:])], [(99, *good[1:])], [good, good[:-1]], good):
        with pytest.raises(SpaceError):
            model.predict_ms(wrong)
