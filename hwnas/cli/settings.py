"""`hwnas settings`."""

from __future__ import annotations

from hwnas.cli.arguments import Json
from hwnas.cli.printing import print_json, print_table


def settings(as_json: Json = False) -> None:
    """List every setting of a run: what it takes, its default, its meaning and its flag.

    A configuration file has them under these names, and --set takes them: --set retrain.ema_decay=0.99.
    """
    from hwnas.config import RunConfig
    from hwnas.fine_tuning import fine_tuning_text
    from hwnas.settings import settings_of

    rows = [
        {
            "name": setting.name,
            "takes": setting.takes,
            "default": setting.default_text or None,
            "default_with_model": fine_tuning_text(setting.name),
            "meaning": setting.about.meaning,
            "flag": setting.about.flag,
        }
        for setting in settings_of(RunConfig)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "settings of a run; [in brackets] what null stands for; with --model: for networks of your own, and a "
        "hundredth of the learning rate for adamw",
        ["setting", "default", "with --model", "takes", "flag", "meaning"],
        [
            [row[name] or "" for name in ("name", "default", "default_with_model", "takes", "flag", "meaning")]
            for row in rows
        ],
        is_prose=True,
    )
