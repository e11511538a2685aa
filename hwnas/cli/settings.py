"""`hwnas settings`."""

from __future__ import annotations

from typing import Any

from hwnas.cli.arguments import Json
from hwnas.cli.printing import print_json, print_table


def settings(as_json: Json = False) -> None:
    """List every setting of a run: what it takes, its default, its meaning and its flag.

    A configuration file has them under these names, and --set takes them: --set retrain.ema_decay=0.99.
    """
    from hwnas.config import RunConfig
    from hwnas.recipes import FINE_TUNING, RECIPES
    from hwnas.settings import settings_of

    rows: list[dict[str, Any]] = [
        {
            "name": setting.name,
            "takes": setting.takes,
            "default": setting.default_text or None,
            "default_with_model": FINE_TUNING.text(setting),
            "recipes": {r.name: text for r in RECIPES if (text := r.text(setting)) is not None},
            "meaning": setting.about.meaning,
            "flag": setting.about.flag,
        }
        for setting in settings_of(RunConfig)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "settings of a run; [in brackets] what null stands for; recipes: the defaults of networks of your own "
        "(--model), of transformers and of some tasks, for their own optimiser; adamw takes a hundredth of the rate "
        "of sgd",
        ["setting", "default", "recipes", "takes", "flag", "meaning"],
        [
            [
                row["name"],
                row["default"] or "",
                "\n".join(f"{name}: {text}" for name, text in row["recipes"].items()),
                *(row[name] or "" for name in ("takes", "flag", "meaning")),
            ]
            for row in rows
        ],
        is_prose=True,
    )
