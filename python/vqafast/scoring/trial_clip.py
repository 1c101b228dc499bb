"""A clip that every model can score, to see whether one works."""

from __future__ import annotations

import io

import av
import numpy as np

_SIDES, _FRAMES, _RATE = (256, 192), 20, 20


def trial_clip() -> io.BytesIO:
    """A second of moving gratings, coded, for some models read the code."""
    wide, high = _SIDES
    y, x = np.mgrid[:high, :wide]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mpeg4", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
        for t in range(_FRAMES):
            luma = (128 + 90 * np.sin((x + 3 * t) / 7) * np.cos((y - t) / 11)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    return file
