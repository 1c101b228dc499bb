"""The protocol on features that somebody else computed: a feature matrix and an info file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import authentic, matlab
from vqafast.training.datasets.files import existing
from vqafast.training.protocol import Published, SplitReport, ten_splits
from vqafast.training.regressors import regressor
from vqafast.training.splits import THREE_WAY, random_splits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from vqafast.training.metrics import Correlations

#: What others report, by the info file's name of its dataset.
PUBLISHED: dict[str, tuple[Published, ...]] = {
    "CVD2014": (
        Published("VSFA", "A2INet, table 2", {"srcc": 0.8732, "plcc": 0.8735}),
        Published("A2INet FR(S+S)", "A2INet, table 2", {"srcc": 0.9056, "plcc": 0.9183}),
    ),
    "LIVE-Qualcomm": (
        Published("VSFA", "A2INet, table 2", {"srcc": 0.7671, "plcc": 0.8007}),
        Published("A2INet FR(S+S)", "A2INet, table 2", {"srcc": 0.8676, "plcc": 0.8764}),
    ),
}

_CONTENT: dict[str, Callable[[str], str]] = {
    "CVD2014": authentic.scene_cvd2014,
    "LIVE-Qualcomm": authentic.scene_qualcomm,
}


@dataclass(frozen=True, slots=True)
class Precomputed:
    """Features ``(N, D)`` in the order of an info file."""

    dataset: str
    features: NDArray[np.float64]
    info: matlab.Info

    def groups(self) -> list[str]:
        """Content of each video; `InvalidArgument` where the names do not tell."""
        if self.dataset not in _CONTENT:
            raise InvalidArgument(
                f"contents: must be known for the dataset ({', '.join(_CONTENT)}), got {self.dataset!r}"
            )
        return [_CONTENT[self.dataset](name) for name in self.info.names]


def read_precomputed(features: str | os.PathLike[str], info: str | os.PathLike[str]) -> Precomputed:
    """Read ``features`` of a MATLAB file, or an .npy file, and the info file that they belong to.

    The layout of https://github.com/zwx8981/BVQA-2021: one row a video, in the order of the info file.

    Raises
    ------
    InvalidArgument
        When the rows are not as many as the info file's videos.
    """
    file, labels = existing(features), existing(info)
    variables = matlab.read_mat(labels)
    known = matlab.info_of(variables, labels.name)
    matrix = _matrix(file)
    if matrix.ndim != 2 or len(matrix) != len(known.names):
        raise InvalidArgument(
            f"{file.name}: features must be ({len(known.names)}, D), one row a video of {labels.name}, "
            f"got {matrix.shape}",
            path=str(file),
        )
    if not np.isfinite(matrix).all():
        raise InvalidArgument(f"{file.name}: features must be finite, got NaN or infinity", path=str(file))
    name = variables.get("database")
    return Precomputed(name if isinstance(name, str) else labels.stem.removesuffix("info"), matrix, known)


def _matrix(file: Path) -> NDArray[np.float64]:
    data: Any
    if file.suffix.lower() == ".npy":
        try:
            data = np.load(file, allow_pickle=False)
        except ValueError as error:
            raise InvalidArgument(
                f"{file.name}: must be a NumPy array, got {error}", path=str(file)
            ) from error
    else:
        variables = matlab.read_mat(file)
        if "features" not in variables:
            raise InvalidArgument(
                f"{file.name}: must hold the variable features, got {', '.join(variables) or 'none'}",
                path=str(file),
            )
        data = variables["features"]
    return np.asarray(data, dtype=np.float64)


def evaluate_precomputed(
    name: str,
    data: Precomputed,
    *,
    splits: int = 10,
    seed: int = 0,
    kind: str = "published",
    refit: bool = True,
    progress: Callable[[int, Correlations], None] | None = None,
) -> tuple[SplitReport, list[dict[str, float]]]:
    """Run a regressor of `vqafast.training.regressors` through the protocol.

    Parameters
    ----------
    kind : "published" or "content"
        The info file's first `splits` partitions, which part videos, not contents; or random
        60/20/20 partitions by content, of which nobody has published figures.

    Returns
    -------
    SplitReport, list of dict
        The report, and the hyper-parameters that each split's validation part chose.
    """
    if kind == "published":
        available = data.info.splits
        if not 1 <= splits <= len(available):
            raise InvalidArgument(f"splits: must be 1 to {len(available)}, the published ones, got {splits}")
        chosen = list(available[:splits])
        words = f"median of the first {splits} published splits, 60/20/20"
    elif kind == "content":
        chosen = random_splits(data.groups(), splits, seed, THREE_WAY)
        words = f"median of {splits} content-disjoint splits, 60/20/20, seed {seed}"
    else:
        raise InvalidArgument(f"splits: kind must be published or content, got {kind!r}")
    words += "; chosen on validation, " + ("fitted on both" if refit else "fitted on training only")
    fit = regressor(name, data.features, data.info.scores, refit=refit)
    report = ten_splits(
        data.info.scores,
        chosen,
        fit,
        model=name,
        dataset=data.dataset,
        protocol=words,
        seed=seed,
        published=PUBLISHED.get(data.dataset, ()) if kind == "published" else (),
        progress=progress,
    )
    return report, fit.chosen
