"""What DALI's NVDEC decoders must not be given, by the size of the pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass

# Least and greatest coded sizes by NVIDIA's Video Codec SDK (support matrix and NVDEC application note). The
# newest cards take more.
LIMITS = {
    "h264": ((48, 16), (4096, 4096)),
    "hevc": ((144, 144), (8192, 8192)),
    "vp8": ((48, 16), (4096, 4096)),
    "vp9": ((128, 128), (8192, 8192)),
}
# Whether NVDEC counts the rest of the last blocks as coded is not documented where the stream does not count
# it, as only H.264 does: both are taken as possible.
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class PictureSize:
    """Size of a stream's pictures, each (width, height).

    Attributes
    ----------
    coded : (int, int)
    shown : (int, int)
        What is left of them after cropping.
    """

    coded: tuple[int, int]
    shown: tuple[int, int]


def beyond_nvdec(codec: str, coded: tuple[int, int]) -> str | None:
    """Why NVDEC does not decode pictures of that size; None when it does."""
    least, greatest = LIMITS[codec]
    if all(low <= side <= high for low, side, high in zip(least, coded, greatest, strict=True)):
        return None
    bounds = " to ".join(f"{width}x{height}" for width, height in (least, greatest))
    return f"pictures of {codec} must be {bounds} for NVDEC, got {coded[0]}x{coded[1]}"


class DecoderSizes:
    """Sizes for which DALI has made NVDEC decoders: it never forgets one while the process lives.

    DALI keeps idle decoders and finds one for a new file by the coded size, but notes the size that a
    decoder shows. So a file of 640x360 cropped out of 640x368 may get a decoder that was made for 640x368,
    whose chroma begins eight rows later than DALI reads it. Of two sizes that can meet so, that which
    comes first goes to DALI, and the other never.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[int, str], set[PictureSize]] = {}

    def claim(self, gpu: int, codec: str, size: PictureSize) -> str | None:
        """Note a size of which DALI will get a file; else the reason why it must not get it."""
        with self._lock:
            made = self._made.setdefault((gpu, codec), set())
            for other in made:
                if size != other and (_mistaken(size, other) or _mistaken(other, size)):
                    return f"it may decode {_words(size)} as {_words(other)}, of which it had a file before"
            made.add(size)
        return None


def _mistaken(made: PictureSize, sought: PictureSize) -> bool:
    """Whether DALI may take a decoder of the size `made` for one that fits `sought`."""
    return all(
        coded <= shown <= coded + -coded % _BLOCK
        for coded, shown in zip(sought.coded, made.shown, strict=True)
    )


def _words(size: PictureSize) -> str:
    coded, shown = (f"{width}x{height}" for width, height in (size.coded, size.shown))
    return shown if coded == shown else f"{shown} cropped out of {coded}"


#: Of this process, as DALI's cache of decoders is.
DECODER_SIZES = DecoderSizes()
