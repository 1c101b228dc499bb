"""From trained modules to the model directories that ``Scorer`` loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.models.a2inet.ensemble import export_ensemble
from vqafast.models.a2inet.export import Description
from vqafast.models.a2inet.lite import NAMES, QUALITY_VIEW, RAW_PER_VMAF, SAMPLING, SEMANTIC_VIEW, VERSION
from vqafast.models.backbones.scene_descriptors import SceneDescriptors
from vqafast.models.spec import BitstreamView, Calibration, Scale
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from vqafast.models.spec import A2INetSpec, Uncertainty
    from vqafast.training.lite.head import Ensemble

MEANINGS = {
    "pixels": (
        "VMAF (vmaf_v0.6.1) as predicted from the decoded picture alone, without a reference; "
        "not a mean opinion score"
    ),
    "hybrid": (
        "VMAF (vmaf_v0.6.1) as predicted from the decoded picture and the bits that its file spends on it, "
        "without a reference; not a mean opinion score"
    ),
}
TRAINED_ON = (
    "clean clips and photo pans, degraded, enhanced, pre-processed and encoded with x264, x265, SVT-AV1, VP9 "
    "and MPEG-4 by vqafast.training.synthesis, labelled with libvmaf; see docs/model_card.md"
)


def publish(
    trained: Ensemble,
    kind: str,
    directory: Path,
    *,
    figures: dict[str, Any],
    uncertainty: Uncertainty | None = None,
    bitstream: NDArray[np.float32] | None = None,
) -> A2INetSpec:
    """Export the models of one kind to `directory`; `figures` become the metadata of model.json.

    `bitstream` ``(N, F)`` are the values that training saw, for the hybrid; None for the pixels' model.
    """
    description = Description(
        name=NAMES[kind],
        version=VERSION,
        meaning=MEANINGS[kind],
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
    spec, parity = export_ensemble(
        directory, description, quality=None, semantic=SceneDescriptors(), heads=trained.heads,
        kernels=trained.kernels, share=trained.share, uncertainty=uncertainty,
        bitstream=None if bitstream is None else _bitstream(bitstream),
        sizes=((96, 128), (144, 192)), keep=("head_0",),
    )  # fmt: skip
    for graph, error in parity.items():
        print(f"{spec.name}: {graph}.onnx differs from torch by {error:.1e} at most")
    return spec


def _bitstream(seen: NDArray[np.float32]) -> BitstreamView:
    """All features, with the ranges that training saw, rounded outwards."""
    low, high = np.floor(seen.min(axis=0) * 1e4) / 1e4, np.ceil(seen.max(axis=0) * 1e4) / 1e4
    ranges = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
    return BitstreamView(features=BITSTREAM_FEATURES, ranges=ranges)
