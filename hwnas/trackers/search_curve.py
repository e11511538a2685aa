"""The numbers of a search, evaluation by evaluation."""

from __future__ import annotations


class SearchCurve:
    """Counts evaluations, and knows the best score so far.

    Args:
        num: evaluations before those that are told.
        best: their best score.
    """

    def __init__(self, num: int = 0, best: float = float("-inf")) -> None:
        self.num = num
        self._best = best

    def add(self, score: float, latency_ms: float) -> dict[str, float]:
        """Return the numbers of one more evaluation, which is then the `num`-th."""
        self.num += 1
        self._best = max(self._best, score)
        return {"score": score, "best_score": self._best, "latency_ms": latency_ms}
