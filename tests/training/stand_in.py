"""A small labelled data set of generated clips, and a small model with random backbones for it."""

from __future__ import annotations

import os
import signal
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from tests import clips
from tests.models.small import TwoStages

from vqafast.models.a2inet.config import HeadConfig
from vqafast.models.spec import QualityView, SamplingSpec, SemanticView
from vqafast.training.datasets import VideoDataset, load_dataset
from vqafast.training.parts import Parts
from vqafast.training.reporter import Silent
from vqafast.training.run_config import RunConfig
from vqafast.training.runs import run

COUNT = 12


def make_clips(root: Path, count: int = COUNT) -> None:
    """Clips of different content and compression, some of another size or rate, and labels.csv."""
    lines = ["name,mos,group"]
    for i in range(count):
        clip = clips.Clip(
            frames=20 + i,
            width=128 if i % 3 else 160,
            height=96,
            fps=24 if i % 4 else 12,
            options={"crf": str(15 + 2 * i), "preset": "ultrafast"},
            first=40 * i,
        )
        clips.encode(root / f"clip {i:02}.mp4", clip)
        lines.append(f"clip {i:02}.mp4,{4.6 - 0.2 * i},scene{i}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def dataset(root: Path) -> VideoDataset:
    return load_dataset("csv", root, labels=root / "labels.csv")


def parts(**changes: Any) -> Parts:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        quality, semantic = TwoStages(2), TwoStages(3)
    values: dict[str, Any] = {
        "name": "tiny",
        "paper": "none",
        "head": HeadConfig(
            quality_dim=20, semantic_dim=20, dim=16, reduced_dim=8, gru_dim=4, gate_reduction=2
        ),
        "sampling": SamplingSpec("time_grid", rate=Fraction(10), burst=2, window=4),
        "quality_view": QualityView((2, 2), 48, 16, "luma", (0.5,), (0.25,), "pair"),
        "semantic_view": SemanticView(40, "rgb", (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), None),
        "quality": quality,
        "semantic": semantic,
        "random": ("quality", "semantic"),
    }
    return Parts(**{**values, **changes})


def config(root: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "dataset": "csv",
        "root": str(root),
        "labels": str(root / "labels.csv"),
        "random_backbones": True,
        "epochs": 4,
        "batch": 3,
        "lr": 1e-3,
        "device": "cpu",
    }
    return RunConfig(**{**values, **changes})


class Killer(Silent):
    """Kills its process when a stage has come so far."""

    def __init__(self, stage: str, done: int) -> None:
        self._wanted = stage, done
        self._at = "", 0

    def stage(self, name: str, total: int | None = None) -> None:
        self._at = name, 0
        self._look()

    def advance(self, text: str = "", done: int | None = None) -> None:
        self._at = self._at[0], self._at[1] + 1
        self._look()

    def _look(self) -> None:
        if self._at == self._wanted:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    root, directory, stage, done = sys.argv[1:]
    run(
        config(Path(root), checkpoint_steps=2),
        directory,
        parts=parts(),
        reporter=Killer(stage, int(done)),
    )
