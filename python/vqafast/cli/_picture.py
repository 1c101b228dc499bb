"""Local quality of still pictures, which are scored as videos of one frame."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from vqafast.errors import NotAVideo
from vqafast.scoring.maps import arrays_of
from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


def quality_of(model: str) -> Callable[[Path], NDArray[np.float64]]:
    """A function from a picture to its local quality ``(parts, rows, columns)``.

    Raises
    ------
    Unsupported
        When it is called, for a model without maps.
    """
    scorer = Scorer(model)

    def look(path: Path) -> NDArray[np.float64]:
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "picture.mkv"
            _encode(path, clip)
            quality: NDArray[np.float64] = arrays_of(scorer.assess(clip, maps=True))["quality"]
        mean: NDArray[np.float64] = quality.mean(axis=0)
        return mean

    return look


def _encode(picture: Path, clip: Path) -> None:
    """One frame of FFV1 in 4:4:4: nothing is lost but rounding to 8 bits."""
    try:
        with av.open(str(picture)) as source:
            frame = next(source.decode(video=0)).reformat(format="yuv444p", dst_colorspace="ITU709")
    except (av.error.FFmpegError, StopIteration) as error:
        raise NotAVideo(f"{picture}: must be a picture: {error}", path=str(picture)) from error
    with av.open(str(clip), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv444p"
        stream.codec_context.colorspace = 1  # BT.709
        stream.codec_context.color_range = 1  # limited
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
