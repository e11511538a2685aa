"""`hwnas settings`."""

from __future__ import annotations

from hwnas.cli.arguments import Json
from hwnas.cli.printing import print_json, print_table


def settings(as_json: Json = False) -> None:
    """List every setting of a run: what it takes, its default, its meaning and its flag.

    A configuration file has them under these names, and --set takes them: --set retrain.ema_decay=0.99.
    """
    from hwnas.config import RunConfig
    from hwnas.settings import settings_of

    rows = [
        {
            "name": setting.name,
            "takes": setting.takes,
            "default": setting.default_text or None,
            "meaning": setting.about.meaning,
            "flag": setting.about.flag,
        }
        for setting in settings_of(RunConfig)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "settings of a run; [in brackets] what null stands for",
        ["setting", "default", "takes", "flag", "meaning"],
        [[row[name] or "" for name in ("name", "default", "takes", "flag", "meaning")] for row in rows],
        is_prose=True,
    )
