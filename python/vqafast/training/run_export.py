"""From a trained run to the model directory that ``Scorer`` loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqafast.models.a2inet.export import Description, export_model
from vqafast.models.spec import A2INetSpec, Calibration, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.training.calibration import Line
    from vqafast.training.datasets import VideoDataset
    from vqafast.training.parts import Parts

RANDOM = "RANDOM BACKBONES, a test of the machinery and no measure of quality: "


def described(
    data: VideoDataset, model: str, line: Line, *, version: str, metadata: dict[str, Any], random: bool
) -> dict[str, Any]:
    """Fields of `ModelSpec` that say what a model was trained on, and what its scores mean.

    Parameters
    ----------
    line : Line
        From the network's outputs to the scale of the labels. Scores are not clipped to the labels' range,
        since that would tie the best and the worst videos.
    random : bool
        Frozen parts of it are random.
    """
    title = data.title if data.title != "your own" else data.name
    meaning = f"mean opinion score of {title} as predicted from the decoded picture alone"
    return {
        "name": f"{model}-{data.name}",
        "version": version,
        "meaning": (RANDOM if random else "") + meaning,
        "scale": Scale(f"MOS of {title}", *data.mos_range, "higher_is_better"),
        "calibration": Calibration(line.scale, line.offset),
        "trained_on": f"{title}, {metadata['videos']['train']} videos; labels {data.labels.name}",
        "licence": "that of the labels and of the backbones' weights",
        "source": f"vqafast train {model}",
        "metadata": metadata,
    }


def export_run(
    directory: Path,
    parts: Parts,
    head: A2INetHead,
    data: VideoDataset,
    line: Line,
    *,
    version: str,
    metadata: dict[str, Any],
    trained_backbones: bool = False,
) -> tuple[A2INetSpec, dict[str, float]]:
    """Write `directory`: graphs, model.json, and the weights that training can go on from.

    Parameters
    ----------
    line : Line
        From the head's outputs to the scale of the labels.
    trained_backbones : bool
        Write the backbones' weights too. Published ones stay where they are; random ones are written.
    """
    keep = ["head"]
    if parts.quality is not None and (trained_backbones or "quality" in parts.random):
        keep.append("quality")
    if trained_backbones or "semantic" in parts.random:
        keep.append("semantic")
    said = described(data, parts.name, line, version=version, metadata=metadata, random=bool(parts.random))
    description = Description(
        sampling=parts.sampling, quality=parts.quality_view, semantic=parts.semantic_view, **said
    )
    return export_model(
        directory, description, quality=parts.quality, semantic=parts.semantic, head=head, keep=keep
    )
