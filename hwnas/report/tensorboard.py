"""A run's curves as TensorBoard event files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hwnas.report.facts import Facts

EVENTS = "tensorboard"


def write_events(facts: Facts) -> Path:
    """Write everything that a run has by now into its folder `tensorboard`, in place of what was there.

    Each training has a folder of its own with loss, learning rate, images per second and, where it was judged, score by
    epoch; `search` has score, best score and predicted latency by evaluation.
    """
    from tensorboardX import SummaryWriter

    target = facts.run.folder / EVENTS
    draft = Path(tempfile.mkdtemp(prefix=".tensorboard-", dir=facts.run.folder))
    for name, rows in facts.curves.items():
        with SummaryWriter(str(draft / name.replace(" ", "-"))) as writer:
            for row in rows:
                for title in ("loss", "learning_rate", "images_per_s", "score"):
                    if (value := getattr(row, title)) is not None:
                        writer.add_scalar(title, value, row.epoch + 1)
    if facts.history:
        with SummaryWriter(str(draft / "search")) as writer:
            best = float("-inf")
            for number, evaluation in enumerate(facts.history, start=1):
                best = max(best, evaluation.score)
                writer.add_scalar("score", evaluation.score, number)
                writer.add_scalar("best_score", best, number)
                writer.add_scalar("latency_ms", evaluation.costs["latency_ms"], number)
    shutil.rmtree(target, ignore_errors=True)
    draft.chmod(0o755)
    draft.replace(target)
    return target
