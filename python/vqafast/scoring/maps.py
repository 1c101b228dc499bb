"""Maps of an assessment as arrays, and as a picture that a person can look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument, Unreadable
from vqafast.models.views import oriented_size
from vqafast.ops import frame_ingest
from vqafast.scoring._open import open_source
from vqafast.video.formats import display_size
from vqafast.video.png import encode_png

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from vqafast.scoring.assessment import Assessment
    from vqafast.video.sampling import Selector
    from vqafast.video.source import Frame

SUFFIXES = (".npz", ".png")
_HEIGHT = 270  # pixels of one picture in the overlay
_GAP = 4
_SHARE = 0.55  # of the colour, over the picture
# Bad, middling, good: told apart also by those who do not tell red from green, by blue.
_BAD, _MIDDLE, _GOOD = (0.84, 0.19, 0.15), (1.0, 1.0, 0.75), (0.10, 0.40, 0.74)


def arrays_of(result: Assessment) -> dict[str, NDArray[Any]]:
    """Maps as arrays: ``index`` and ``pts`` ``(S,)``, ``quality`` and ``saliency`` ``(S, parts, h, w)``.

    Raises
    ------
    InvalidArgument
        When the assessment was made without maps.
    """
    if not result.maps:
        raise InvalidArgument("maps: the assessment must have them, got one that was made without")
    return {
        "index": np.array([m.index for m in result.maps], dtype=np.int64),
        "pts": np.array([m.pts for m in result.maps], dtype=np.float64),
        "quality": np.array([m.quality for m in result.maps], dtype=np.float64),
        "saliency": np.array([m.saliency for m in result.maps], dtype=np.float64),
    }


def check_target(path: Path, source: str) -> None:
    """Refuse what `write` could not do after a long run: another suffix, or a picture of a pipe."""
    if path.suffix not in SUFFIXES:
        raise InvalidArgument(f"maps: the file must end in {' or '.join(SUFFIXES)}, got {str(path)!r}")
    if path.suffix == ".png" and source == "-":
        raise InvalidArgument("maps: a picture needs a file that can be read again, got standard input")


def write(result: Assessment, path: str | os.PathLike[str], selector: Selector) -> tuple[float, float]:
    """Write maps as .npz (`arrays_of`) or .png (`overlay`).

    Returns
    -------
    low, high : float
        Local qualities that the picture shows as bad and good.
    """
    path = Path(path)
    check_target(path, result.path)
    arrays = arrays_of(result)
    low, high = float(arrays["quality"].min()), float(arrays["quality"].max())
    try:
        if path.suffix == ".npz":
            with path.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        else:
            path.write_bytes(encode_png(overlay(result, selector)))
    except OSError as e:
        raise Unreadable(f"maps: {path} cannot be written: {e}", path=str(path)) from e
    return low, high


def overlay(result: Assessment, selector: Selector) -> NDArray[np.uint8]:
    """Pictures ``(H, W, 3)``, a row for each sample: its first frame, quality over it, saliency over it.

    Quality goes from red, the lowest in the video, to blue, the highest; means over a sample's parts.
    Saliency darkens what does not count; the brightest region is the one that counts most.

    Parameters
    ----------
    selector : Selector
        That of the model, which chose the samples; the file is decoded again.
    """
    arrays = arrays_of(result)
    quality, saliency = arrays["quality"].mean(axis=1), arrays["saliency"].sum(axis=1)
    low, high = quality.min(), quality.max()
    share = (quality - low) / (high - low if high > low else 1.0)
    wanted = {int(index): i for i, index in enumerate(arrays["index"])}
    rows: list[NDArray[np.float64]] = []
    with open_source(result.path, 0, None, dali=None, selector=selector) as opened:
        for sampled in opened.source.frames(selector):
            at = wanted.get(sampled.frames[0].index)
            if at is not None:
                rows.append(_row(sampled.frames[0], share[at], saliency[at]))
    if len(rows) < len(wanted):
        raise InvalidArgument(f"maps: {result.path} must be the file that was scored, got another one")
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=1.0) for row in rows
    ]
    return np.round(np.concatenate(padded)[:-_GAP] * 255).astype(np.uint8)


def _row(frame: Frame, share: NDArray[np.float64], saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    width, height = oriented_size(frame)
    shown = display_size(frame.width, frame.height, frame.sample_aspect_ratio, frame.rotation)
    size = (_HEIGHT, max(1, round(shown[0] * _HEIGHT / shown[1])))
    crop = np.array([[0, 0, width, height]], dtype=np.int32)
    picture = np.moveaxis(frame_ingest(frame, crop, size)[0].astype(np.float64), 0, 2)
    gray = picture.mean(axis=2, keepdims=True)
    coloured = (1 - _SHARE) * gray + _SHARE * _colour(_enlarged(share, size))
    bright = _enlarged(saliency / max(saliency.max(), 1e-12), size)[..., None]
    gap = np.ones((size[0], _GAP, 3))
    return np.concatenate([picture, gap, coloured, gap, picture * (0.15 + 0.85 * bright)], axis=1)


def _enlarged(values: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Regions as blocks of pixels: nothing is invented between them."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, values.shape, strict=True))
    blocks: NDArray[np.float64] = values[rows][:, columns]
    return blocks


def _colour(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0, bad, to 1, good: ``(h, w)`` to ``(h, w, 3)``."""
    stops = np.array([_BAD, _MIDDLE, _GOOD])
    return np.stack([np.interp(share, [0.0, 0.5, 1.0], stops[:, i]) for i in range(3)], axis=-1)
