"""Labelled datasets as their authors publish them: `load_dataset` and the table `DATASETS`."""

from __future__ import annotations

from vqafast.training.datasets.checking import Report, Unopened, check
from vqafast.training.datasets.item import RankedPair, VideoDataset, VideoItem
from vqafast.training.datasets.table import DATASETS, Entry, load_dataset

__all__ = [
    "DATASETS",
    "Entry",
    "RankedPair",
    "Report",
    "Unopened",
    "VideoDataset",
    "VideoItem",
    "check",
    "load_dataset",
]
