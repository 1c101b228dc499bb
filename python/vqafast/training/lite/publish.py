"""From trained modules to the model directory that ``Scorer`` loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqafast.models.a2inet.export import Description, export_model
from vqafast.models.a2inet.lite import (
    NAME,
    QUALITY_VIEW,
    RAW_PER_VMAF,
    SAMPLING,
    SEMANTIC_VIEW,
    VERSION,
)
from vqafast.models.spec import Calibration, ModelSpec, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.models.backbones.compact_resnet import CompactResNet

MEANING = (
    "VMAF (vmaf_v0.6.1) as predicted from the decoded picture alone, without a reference; "
    "not a mean opinion score"
)
TRAINED_ON = (
    "clean clips and photo pans, degraded, pre-processed and encoded with x264, x265, SVT-AV1 and "
    "VP9 by vqafast.training.synthesis, labelled with libvmaf; see docs/model_card.md"
)


def publish(semantic: CompactResNet, head: A2INetHead, directory: Path, figures: dict[str, Any]) -> ModelSpec:
    """Export to `directory`; `figures` become the metadata of model.json."""
    description = Description(
        name=NAME,
        version=VERSION,
        meaning=MEANING,
        scale=Scale(name="VMAF-like", min=0.0, max=100.0, direction="higher_is_better"),
        sampling=SAMPLING,
        quality=QUALITY_VIEW,
        semantic=SEMANTIC_VIEW,
        calibration=Calibration(scale=1.0 / RAW_PER_VMAF, offset=0.0, clip=True),
        trained_on=TRAINED_ON,
        licence="Apache-2.0",
        source="vqafast train a2inet-lite",
        metadata=figures,
    )
    spec, parity = export_model(directory, description, quality=None, semantic=semantic, head=head)
    for name, error in parity.items():
        print(f"{name}: OpenVINO differs from torch by {error:.1e} of the largest value")
    return spec
