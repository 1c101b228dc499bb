"""A tiny A2INet with seeded random weights and a clip for it, made once per session."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from tests import clips

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from vqafast.models.spec import BitstreamView, Uncertainty

_made: dict[str, Path] = {}


def model_directory(factory: pytest.TempPathFactory) -> Path:
    if "model" not in _made:
        _made["model"] = factory.mktemp("models") / "random"
        export(_made["model"])
    return _made["model"]


def clip_file(factory: pytest.TempPathFactory) -> Path:
    if "clip" not in _made:
        _made["clip"] = factory.mktemp("clips") / "ten seconds.mp4"
        clips.encode(_made["clip"], clips.Clip(frames=240))
    return _made["clip"]


def export(
    directory: Path,
    heads: int = 1,
    uncertainty: Uncertainty | None = None,
    bitstream: BitstreamView | None = None,
) -> None:
    """Write a model; more than one head, or either section, makes an ensemble or a hybrid."""
    import torch
    from torch import nn

    from vqafast.models.a2inet.config import HeadConfig
    from vqafast.models.a2inet.ensemble import export_ensemble
    from vqafast.models.a2inet.export import Description, export_model
    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.models.spec import Calibration, QualityView, SamplingSpec, Scale, SemanticView

    class Stages(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
            self.two = nn.Conv2d(4, 8, 3, stride=2, padding=1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            one = torch.relu(self.one(x))
            return one, torch.relu(self.two(one))

    dims = 24 + (0 if bitstream is None else len(bitstream.features))
    with torch.random.fork_rng():
        torch.manual_seed(11)
        config = HeadConfig(quality_dim=dims, semantic_dim=dims, dim=8, reduced_dim=8, gru_dim=4)
        head = A2INetHead(config)
        quality, semantic = Stages(2), Stages(3)
        others = [A2INetHead(config) for _ in range(heads - 1)]
    # Random heads answer nearly the same to everything: the calibration spreads the answers.
    description = Description(
        name="random",
        version="1",
        meaning="nothing: random weights",
        scale=Scale("random", 0.0, 100.0, "higher_is_better"),
        sampling=SamplingSpec("time_grid", rate=Fraction(2), burst=2, window=8),
        quality=QualityView((2, 2), 32, 1, "luma", (0.5,), (0.25,), "pair"),
        semantic=SemanticView(48, "rgb", (0.5,) * 3, (0.25,) * 3, None),
        trained_on="nothing",
        licence="Apache-2.0",
        source="tests",
        calibration=Calibration(200.0, 50.0, True),
    )
    if heads == 1 and bitstream is None:
        export_model(directory, description, quality=quality, semantic=semantic, head=head)
    else:
        export_ensemble(
            directory,
            description,
            quality=quality,
            semantic=semantic,
            heads=[head, *others],
            uncertainty=uncertainty,
            bitstream=bitstream,
        )
