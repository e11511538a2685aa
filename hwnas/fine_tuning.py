"""Defaults of runs whose networks are slices of one that somebody brings: it is trained on, not from scratch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NETWORK_SUFFIX = ".safetensors"
"""As `search_spaces.registry` has it, which takes torch to import."""

FINE_TUNING: Mapping[str, Any] = {
    "supernet.epochs": 5,
    "supernet.strategy": "sandwich",
    "supernet.learning_rate": 0.01,
    "supernet.warmup_epochs": 0.5,
    "supernet.label_smoothing": 0.0,
    "retrain.epochs": 10,
    "retrain.learning_rate": 0.01,
    "retrain.warmup_epochs": 0.5,
    "retrain.label_smoothing": 0.0,
    "retrain.inherit": True,
    "retrain.distillation": 1.0,
}
"""Settings by dotted name."""

ADAMW_RATE = 0.01
"""The learning rate of AdamW as a share of SGD's, for the same effect."""


def brings_network(*, model: object, space: object) -> bool:
    """Return whether a run's networks are those of a network that its user brings.

    Args:
        model: the setting `space.model`.
        space: the setting `space.name`.
    """
    return bool(model) or str(space).endswith(NETWORK_SUFFIX)


def fine_tuning_text(name: str) -> str | None:
    """Return the default of a setting where a network is brought, as text; None where it is that of other runs."""
    return json.dumps(FINE_TUNING[name]).strip('"') if name in FINE_TUNING else None


def fill_in_fine_tuning(settings: dict[str, Any]) -> None:
    """Fill in what a file and flags leave out, in place, where a network is brought."""
    space = settings.get("space")
    if not isinstance(space, dict) or not brings_network(model=space.get("model"), space=space.get("name")):
        return
    for name, value in FINE_TUNING.items():
        group, _, own = name.partition(".")
        inner = settings.setdefault(group, {})
        if isinstance(inner, dict):
            is_slower = own == "learning_rate" and inner.get("optimizer") == "adamw"
            inner.setdefault(own, value * ADAMW_RATE if is_slower else value)
