"""Versions of a synthesised data set in memory, and folds over their sources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training import features

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Dataset:
    """N versions; lists are per version, ``T_i`` samples each.

    `semantic` holds the semantic features of each version, ``(T_i, SEMANTIC_DIM)``; `bitstream` is
    ``(N, F)``; `clean` maps a master to the mean quality features ``(QUALITY_DIM,)`` of it.
    """

    records: list[dict[str, Any]]
    quality: list[NDArray[np.float32]]
    semantic: list[NDArray[np.float32]]
    frame_labels: list[NDArray[np.float32]]
    labels: NDArray[np.float32]
    sources: NDArray[np.str_]
    bitstream: NDArray[np.float32]
    clean: dict[str, NDArray[np.float32]]

    def fields(self, name: str) -> NDArray[np.str_]:
        """One field of every version's recipe as text, for tables."""
        return np.array([str(r["recipe"][name]) for r in self.records])


def load(root: Path, jobs: int = 2) -> Dataset:
    """Build what is missing of the feature cache, then read all of it."""
    records = features.build(root, jobs)
    if not records:
        raise InvalidArgument(f"train: --data must hold labelled versions, found none in {root}")
    versions = [features.load(root, r) for r in records]
    # any version of a master leads to it
    clean = {m: features.load_master(root, r) for m, r in {r["master"]: r for r in records}.items()}
    return Dataset(
        records=records,
        quality=[v.quality for v in versions],
        semantic=[v.semantic for v in versions],
        frame_labels=[v.frame_labels for v in versions],
        labels=np.array([v.label for v in versions], dtype=np.float32),
        sources=np.array([r["source"] for r in records]),
        bitstream=np.stack([v.bitstream for v in versions]),
        clean=clean,
    )


def fold_of(source: str, folds: int) -> int:
    """Fold of a source by hash of its scene, so that it stays put when sources are added."""
    return int.from_bytes(hashlib.sha256(scene(source).encode()).digest()[:4], "big") % folds


#: Word in the names of sources that show the same film: they are one content, in one fold.
SHARED_SCENES = ("bbb",)


def scene(source: str) -> str:
    """Content that a source shows: its own name, unless it shares a film with others."""
    return next((film for film in SHARED_SCENES if film in source), source)
