"""The defaults of kinds of runs: what each brings, what overrides them, and how they are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from hypothesis import given
from hypothesis import strategies as st

from hwnas.agents import TASKS
from hwnas.config import RunConfig
from hwnas.config_file import config_as_yaml, load_config
from hwnas.recipes import (
    ADAMW_RATE,
    DENSE,
    DENSE_TASKS,
    FINE_TUNING,
    RECIPES,
    TRANSFORMER,
    TRANSFORMERS,
    fill_in,
)
from hwnas.settings import settings_of
from search_spaces import SPACES

BUDGET = {"max_latency": "5ms"}


def _config(**settings: Any) -> RunConfig:
    return load_config(None, {**BUDGET, **{name.replace("__", "."): value for name, value in settings.items()}})


def test_other_runs_have_the_defaults_that_they_had() -> None:
    config = _config()
    for training in (config.supernet, config.retrain):
        assert (training.optimizer, training.learning_rate, training.schedule) == ("sgd", 0.1, "cosine")
        assert (training.warmup_epochs, training.weight_decay, training.label_smoothing) == (2.0, 5e-4, 0.1)
        assert (training.mixup, training.cutmix, training.stochastic_depth, training.layer_decay) == (0, 0, 0, 1)
        assert (training.mixed_precision, training.compile) == (False, False)


def test_recipes_name_settings_that_there_are_and_values_that_these_take() -> None:
    known = {setting.name for setting in settings_of(RunConfig)}
    for recipe in RECIPES:
        assert recipe.settings.keys() <= known, recipe.name
        load_config(None, {**BUDGET, **recipe.settings})


@pytest.mark.parametrize("space", ["autoformer", "mobilevit"])
def test_transformers_have_a_recipe_of_their_own(space: str) -> None:
    config = _config(space__name=space)
    for training in (config.supernet, config.retrain):
        assert (training.optimizer, training.learning_rate, training.warmup_epochs) == ("adamw", 0.001, 5.0)
        assert (training.weight_decay, training.stochastic_depth, training.mixup) == (0.05, 0.1, 0.2)
        assert training.mixed_precision == "auto"
    assert (config.supernet.cutmix, config.retrain.cutmix) == (0.0, 1.0)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_tasks_with_boxes_or_masks_mix_no_images(task: str) -> None:
    for space in ("fbnet-s", "autoformer"):
        training = _config(space__name=space, task=task).retrain
        assert (training.optimizer, training.weight_decay, training.clip_norm) == ("adamw", 0.05, 10.0)
        assert (training.warmup_epochs, training.label_smoothing) == (1.0, 0.0)
        assert (training.mixup, training.cutmix) == (0, 0)
        assert training.stochastic_depth == (0.1 if space == "autoformer" else 0)
    assert _config(space__name="autoformer", task="verification").retrain.mixup == 0


def test_the_first_recipe_counts_as_a_whole() -> None:
    own = _config(space__model="net.onnx", task="detection").retrain
    assert (own.optimizer, own.learning_rate, own.weight_decay) == ("sgd", 0.01, 5e-4)
    assert own.epochs == 10 and own.clip_norm == 10.0


def test_a_file_and_flags_override_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("{max_latency: 5ms, space: {name: autoformer}, retrain: {mixup: 0, learning_rate: 0.3}}")
    config = load_config(path, {"supernet.weight_decay": 0.1})
    assert (config.retrain.mixup, config.retrain.learning_rate, config.supernet.weight_decay) == (0, 0.3, 0.1)
    assert config.retrain.stochastic_depth == 0.1
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(config_as_yaml(config))
    assert load_config(resolved, {}) == config


def test_a_rate_is_brought_to_the_optimiser_that_is_asked_for() -> None:
    sgd = _config(space__name="autoformer", retrain__optimizer="sgd")
    assert sgd.retrain.learning_rate == pytest.approx(0.1) and sgd.retrain.weight_decay == 5e-4
    assert sgd.supernet.learning_rate == 0.001 and sgd.supernet.weight_decay == 0.05
    adamw = _config(space__model="net.onnx", retrain__optimizer="adamw")
    assert adamw.retrain.learning_rate == pytest.approx(0.01 * ADAMW_RATE)
    given_rate = _config(space__name="autoformer", retrain__optimizer="sgd", retrain__learning_rate=0.7)
    assert given_rate.retrain.learning_rate == 0.7


_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["autoformer", "detection"])
_GROUPS = st.dictionaries(st.sampled_from(["name", "model", "optimizer", "learning_rate"]), _LEAVES, max_size=3)


@given(
    settings=st.dictionaries(st.sampled_from(["space", "task", "supernet", "retrain"]), _LEAVES | _GROUPS, max_size=4)
)
def test_settings_that_are_wrong_are_left_to_be_explained(settings: dict[str, Any]) -> None:
    kept = json.loads(json.dumps(settings))
    fill_in(settings)
    for name, value in kept.items():
        if isinstance(value, dict):
            assert settings[name].items() >= value.items()
        else:
            assert settings[name] == value


def test_recipes_are_listed() -> None:
    rows = {row["name"]: row for row in json.loads(run_cli("settings", "--json").out)}
    assert rows["retrain.weight_decay"]["recipes"] == {DENSE.name: "0.05", TRANSFORMER.name: "0.05"}
    assert rows["retrain.learning_rate"]["recipes"][FINE_TUNING.name] == "0.01"
    assert rows["retrain.weight_decay"]["default_with_model"] is None
    assert rows["retrain.mixed_precision"]["takes"] == "true, false or auto"
    assert "transformer: adamw" in run_cli("settings").out


def test_recipes_are_of_spaces_and_tasks_that_there_are() -> None:
    assert SPACES.keys() >= TRANSFORMERS and TASKS.keys() >= DENSE_TASKS
