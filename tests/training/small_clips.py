"""A small data set, and small networks over clips that learn it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests import clips
from tests.models.small_clip import TINY_CLIP
from tests.training.stand_in import Killer

from vqafast.models.clif_vqa.config import ClifConfig
from vqafast.models.fast_vqa.config import HeadConfig, NetworkConfig, Sampling, SwinConfig
from vqafast.models.ksvqe.config import ContriqueConfig, KsvqeConfig
from vqafast.models.kvq.config import KvqConfig
from vqafast.training.clips.clif_vqa import ClifVqaSystem
from vqafast.training.clips.fast_vqa import FastVqaSystem
from vqafast.training.clips.ksvqe import KsvqeSystem
from vqafast.training.clips.kvq import KvqSystem
from vqafast.training.run_config import RunConfig
from vqafast.training.runs import run

TRAINED, COUNT = 16, 20


def make_clips(root: Path, *, width: int = 128, height: int = 96, frames: int = 22) -> None:
    """Clips whose label says how strongly they are compressed, each of its own content.

    With 64 x 64 pixels and 16 frames there is one place for each network's clips and their patches.
    """
    lines = ["name,mos,group"]
    for i in range(COUNT):
        clip = clips.Clip(
            frames=frames,
            width=width,
            height=height,
            options={"crf": str(14 + 2 * i), "preset": "ultrafast"},
            first=40 * i,
        )
        clips.encode(root / f"{i:02}.mp4", clip)
        lines.append(f"{i:02}.mp4,{4.8 - 0.2 * i},{i}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def swin(**changes: Any) -> SwinConfig:
    values: dict[str, Any] = {
        "width": 12, "depths": (1, 1, 2), "heads": (1, 2, 4), "window": (2, 4, 4),
        "fragment_bias": (True, True, False), "drop_path": 0.0,
    }  # fmt: skip
    return SwinConfig(**{**values, **changes})


HEAD = HeadConfig(48, 8, 0.0)
FAST = NetworkConfig("fast-small", swin(), Sampling(8, 2, 2, 2, 8), HEAD)
FASTER = NetworkConfig("faster-small", swin(), Sampling(8, 2, 1, 2, 4, segments=2), HEAD)
SYSTEMS: dict[str, Any] = {
    "fast-vqa": lambda: FastVqaSystem(FAST),
    "faster-vqa": lambda: FastVqaSystem(FASTER),
    "ksvqe": lambda: KsvqeSystem(
        KsvqeConfig(
            swin=swin(), head=HEAD, sampling=Sampling(8, 2, 2, 4, 8, patch=16), clip=TINY_CLIP,
            frames_side=32, contrique=ContriqueConfig(4, (1, 1, 1, 1), 8), adapter_start=1, tuning_stage=1,
            region=3, num_samples=7,
        )
    ),
    "kvq": lambda: KvqSystem(
        KvqConfig(
            swin=swin(fragment_bias=(False,) * 3), head=HEAD, correlated=(3, 2), cube=(2, 16, 16), side=64,
            clips=2, frames=4, interval=2,
        )
    ),
    "clif-vqa": lambda: ClifVqaSystem(
        ClifConfig(
            swin=swin(), head=HEAD, sampling=Sampling(8, 2, 2, 2, 8), clip=TINY_CLIP, blocks=2, looks=2,
            descriptions=("bright", "noisy", "boring"), semantic_hidden=6, regression_hidden=12,
        )
    ),
}  # fmt: skip


def config(root: Path, name: str, **changes: Any) -> RunConfig:
    recipe = SYSTEMS[name]().recipe
    values: dict[str, Any] = {
        **recipe,
        "dataset": "csv",
        "root": str(root),
        "labels": str(root / "labels.csv"),
        "ratio": (TRAINED / COUNT, 1 - TRAINED / COUNT),
        "random_backbones": True,
        "epochs": 2,
        "batch": 6,
        "workers": 2,
        "device": "cpu",
    }
    return RunConfig(**{**values, **changes})


if __name__ == "__main__":
    folder, directory, name, step = sys.argv[1:]
    run(
        config(Path(folder), name, checkpoint_steps=2),
        directory,
        system=SYSTEMS[name](),
        reporter=Killer("train", int(step)),
    )
