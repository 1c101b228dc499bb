"""A small A2INet and a model directory of it, for tests."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch

from vqafast.models.a2inet.config import HeadConfig
from vqafast.models.a2inet.export import Description, export_model
from vqafast.models.a2inet.modules import A2INetHead
from vqafast.models.backbones.slowfast import SlowFastFast
from vqafast.models.spec import Calibration, QualityView, SamplingSpec, Scale, SemanticView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vqafast.models.a2inet.runtime import A2INetRuntime
    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import Sampled


def pair_description(**changes: Any) -> Description:
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "meaning": "random weights",
        "scale": Scale("test", 0.0, 100.0, "higher_is_better"),
        "sampling": SamplingSpec("time_grid", rate=Fraction(30000, 1001), burst=2, window=4),
        "quality": QualityView((2, 2), 48, 16, "luma", (0.5,), (0.25,), "pair"),
        "semantic": SemanticView(40, "rgb", (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), None),
        "trained_on": "nothing",
        "licence": "Apache-2.0",
        "source": "tests",
        "calibration": Calibration(10.0, 50.0, True),
    }
    return Description(**{**values, **changes})


class TwoStages(torch.nn.Module):
    """Two stages, 20 pooled features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = (4, 6)
        self.a = torch.nn.Conv2d(channels, 4, 3, 2, 1)
        self.b = torch.nn.Conv2d(4, 6, 3, 2, 1)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a = torch.relu(self.a(frames))
        return a, torch.relu(self.b(a))


def ingest(runtime: A2INetRuntime, sampled: Sampled) -> dict[str, Any]:
    return {
        "quality": runtime.ingest_quality(sampled),
        "semantic": runtime.ingest_semantic(sampled),
    }


def features(runtime: A2INetRuntime, views: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    return (
        runtime.quality_features([v["quality"] for v in views]),
        runtime.semantic_features([v["semantic"] for v in views]),
    )


def build(**config: Any) -> tuple[TwoStages, Any, A2INetHead]:
    torch.manual_seed(0)
    semantic: Any = SlowFastFast(width=1) if config.pop("motion", False) else TwoStages(3)
    dims = {"quality_dim": 20, "semantic_dim": 2 * sum(semantic.channels)}
    small = {"dim": 8, "reduced_dim": 6, "gru_dim": 4, "gate_reduction": 2}
    return TwoStages(2), semantic, A2INetHead(HeadConfig(**{**dims, **small, **config})).eval()


def write(
    directory: Path, description: Description | None = None, **config: Any
) -> tuple[ModelSpec, dict[str, float], tuple[TwoStages, Any, A2INetHead]]:
    nets = build(**config)
    spec, parity = export_model(
        directory,
        description or pair_description(),
        quality=nets[0],
        semantic=nets[1],
        head=nets[2],
        sizes=((48, 64), (40, 56)),
    )
    return spec, parity, nets
