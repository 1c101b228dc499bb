"""The bitstream features that a hybrid model asks for, or why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import Unsupported
from vqafast.models.registry import DEFAULT
from vqafast.scoring.assessment import BitstreamValue, WarningNote
from vqafast.video.bitstream_stats import features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import FrameSource

# A packet of these says nothing of quality: every picture has the same bits.
_UNCODED = frozenset({"rawvideo", "wrapped_avframe", "v210", "v308", "v408", "v410", "r210", "yuv4"})


def refuse(spec: ModelSpec, path: str, got: str) -> Unsupported:
    """Make the error for frames without a coded stream."""
    return Unsupported(
        f"{path}: model {spec.name} reads the coded stream too and needs a container with it, got {got}; "
        f"use model {DEFAULT}, which needs pictures only",
        path=path,
    )


def read(
    spec: ModelSpec, source: FrameSource, size: tuple[int, int]
) -> tuple[tuple[BitstreamValue, ...], tuple[WarningNote, ...]]:
    """Features in the model's order, within the ranges it was trained on; empty for other models.

    Parameters
    ----------
    size : pair of int
        Width and height of the picture that is scored, before rotation.

    Raises
    ------
    Unsupported
        If the source has no coded stream.
    """
    if spec.bitstream is None:
        return (), ()
    info = source.info
    records = getattr(source, "packet_records", None)
    if records is None or info.codec in _UNCODED:
        got = "YUV4MPEG2" if info.container == "yuv4mpegpipe" else f"{info.codec} video"
        raise refuse(spec, info.path, got)
    found = features(records(), *size)
    values, moved = [], []
    for name, (low, high) in zip(spec.bitstream.features, spec.bitstream.ranges, strict=True):
        value = min(max(found[name], low), high)
        values.append(BitstreamValue(name, found[name]))
        # Less than the ranges' own rounding is not worth a word.
        if abs(value - found[name]) > 1e-3:
            moved.append(f"{name} {found[name]:.3g} to {value:.3g}")
    notes: tuple[WarningNote, ...] = ()
    if moved:
        text = f"the stream is unlike those that model {spec.name} was trained on; moved into its range: "
        notes = (WarningNote("bitstream_out_of_range", text + ", ".join(moved)),)
    return tuple(values), notes


def vector(spec: ModelSpec, values: tuple[BitstreamValue, ...]) -> NDArray[np.float32] | None:
    """What the head gets: ``(F,)``, moved into the model's ranges; None for other models."""
    if spec.bitstream is None:
        return None
    low, high = np.array(spec.bitstream.ranges).T
    return np.clip([v.value for v in values], low, high).astype(np.float32)
