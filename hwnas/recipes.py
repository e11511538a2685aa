"""Defaults of runs of a kind: of networks that somebody brings, of transformers, of tasks with boxes or masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hwnas.settings import Setting

NETWORK_SUFFIX = ".safetensors"
"""As `search_spaces.registry` has it, which takes torch to import."""

TRANSFORMERS = frozenset({"autoformer", "mobilevit"})
"""Spaces whose networks have attention."""

DENSE_TASKS = frozenset({"detection", "segmentation"})
"""Tasks with an answer for every place of an image."""

ADAMW_RATE = 0.01
"""The learning rate of AdamW as a share of SGD's, for the same effect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The defaults of runs of a kind, where they differ from those of other runs.

    A file and flags override each of them. Where they name another optimiser than the recipe's, its learning rate is
    brought to that one's, and its weight decay is left out.

    Attributes:
        name: of the kind, as listings have it.
        is_for: whether a run is of the kind, by its settings as they were given, which may be wrong still.
        settings: values by dotted name.
    """

    name: str
    is_for: Callable[[Mapping[str, Any]], bool]
    settings: Mapping[str, Any]

    def text(self, setting: Setting) -> str | None:
        """Return the recipe's default of a setting as it is written; None where it is that of other runs."""
        if self.settings.get(setting.name, setting.default) == setting.default:
            return None
        return json.dumps(self.settings[setting.name]).strip('"')


def brings_network(*, model: object, space: object) -> bool:
    """Return whether a run's networks are those of a network that its user brings.

    Args:
        model: the setting `space.model`.
        space: the setting `space.name`.
    """
    return bool(model) or str(space).endswith(NETWORK_SUFFIX)


def _of(settings: Mapping[str, Any], group: str, name: str) -> object:
    inner = settings.get(group)
    return inner.get(name) if isinstance(inner, dict) else None


def _is_own_network(settings: Mapping[str, Any]) -> bool:
    return brings_network(model=_of(settings, "space", "model"), space=_of(settings, "space", "name"))


def _is_transformer(settings: Mapping[str, Any]) -> bool:
    return str(_of(settings, "space", "name")) in TRANSFORMERS


def _both(**settings: object) -> dict[str, object]:
    """Return settings of the supernet's training and of the retraining alike, by dotted name."""
    return {f"{group}.{name}": value for group in ("supernet", "retrain") for name, value in settings.items()}


FINE_TUNING = Recipe(
    name="own network",
    is_for=_is_own_network,
    settings={
        **_both(optimizer="sgd", learning_rate=0.01, warmup_epochs=0.5, weight_decay=5e-4, label_smoothing=0.0),
        "supernet.epochs": 5,
        "supernet.strategy": "sandwich",
        "retrain.epochs": 10,
        "retrain.inherit": True,
        "retrain.distillation": 1.0,
    },
)

DENSE = Recipe(
    name="detection or segmentation",
    is_for=lambda settings: str(settings.get("task")) in DENSE_TASKS,
    settings=_both(
        optimizer="adamw",
        learning_rate=0.001,
        warmup_epochs=1.0,
        weight_decay=0.05,
        label_smoothing=0.0,
        clip_norm=10.0,  # gradients of boxes are larger than those of classes
    ),
)

TRANSFORMER = Recipe(
    name="transformer",
    is_for=_is_transformer,
    settings=_both(
        optimizer="adamw",
        learning_rate=0.001,
        warmup_epochs=5.0,
        weight_decay=0.05,
        label_smoothing=0.1,
        stochastic_depth=0.1,
        mixed_precision="auto",  # on a CPU that has it, a step of autoformer took 0.54 times as long in bfloat16
    ),
)
"""About as in Touvron et al. 2021 (DeiT) and Chen et al. 2021 (AutoFormer), for trainings of tens of epochs."""

TRANSFORMER_CLASSES = Recipe(
    name="transformer, classification",
    is_for=lambda settings: _is_transformer(settings) and settings.get("task", "classification") == "classification",
    settings={**_both(mixup=0.2), "retrain.cutmix": 1.0},
)

RECIPES = (FINE_TUNING, DENSE, TRANSFORMER, TRANSFORMER_CLASSES)
"""The first that says something of a setting counts."""


def fill_in(settings: dict[str, Any]) -> None:
    """Fill in what a file and flags leave out, in place, by the recipes that a run is for."""
    found: dict[str, Any] = {}
    for recipe in RECIPES:
        if recipe.is_for(settings):
            found = {**recipe.settings, **found}
    for name, value in found.items():
        group, _, own = name.partition(".")
        inner = settings.setdefault(group, {})
        if not isinstance(inner, dict):
            continue
        fits = inner.get("optimizer", found.get(f"{group}.optimizer")) == found.get(f"{group}.optimizer")
        if own == "learning_rate" and not fits:
            value = value * ADAMW_RATE if inner["optimizer"] == "adamw" else value / ADAMW_RATE
        if fits or own != "weight_decay":
            inner.setdefault(own, value)
