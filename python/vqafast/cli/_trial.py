"""A first run of a model on a generated clip: it loads, and its scores are finite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vqafast.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def trial(model: Path) -> float:
    """Score a second of moving gratings with the model in a directory.

    Raises
    ------
    ModelError
        When the score or a frame score is not finite.
    VqafastError
        Whatever keeps the model from loading or scoring.
    """
    from vqafast.scoring.scorer import Scorer
    from vqafast.scoring.trial_clip import trial_clip

    result = Scorer(model).assess(trial_clip())
    scores = [result.score, *(frame.score for frame in result.frames)]
    if not scores or not all(math.isfinite(s) for s in scores):
        raise ModelError(f"model {result.model.name}: must give finite scores, got {scores}")
    return result.score
