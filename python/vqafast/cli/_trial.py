"""A first run of a model on a generated clip: it loads, and its scores are finite."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from vqafast.errors import ModelError

WIDTH, HEIGHT, FRAMES = 256, 192, 20


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

    with tempfile.TemporaryDirectory() as folder:
        # A file, because some models must know the length beforehand.
        clip = Path(folder) / "trial.y4m"
        _write(clip)
        result = Scorer(model).assess(clip)
    scores = [result.score, *(frame.score for frame in result.frames)]
    if not scores or not all(math.isfinite(s) for s in scores):
        raise ModelError(f"model {result.model.name}: must give finite scores, got {scores}")
    return result.score


def _write(path: Path) -> None:
    import numpy as np

    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with path.open("wb") as out:
        out.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F20:1 Ip A1:1 C420\n".encode())
        for t in range(FRAMES):
            luma = 128 + 60 * np.sin((x + 3 * t) / 7) * np.cos((y - t) / 11) + 30 * np.sin(x * y / 900)
            chroma = 128 + 40 * np.sin((x[::2, ::2] - y[::2, ::2] + 2 * t) / 23)
            out.write(b"FRAME\n")
            for plane in (luma, chroma, 255 - chroma):
                out.write(plane.astype(np.uint8).tobytes())
