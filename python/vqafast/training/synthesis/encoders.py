"""Encoder options of a transcode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    import random

#: Codecs with their odds; libvpx is the slowest. MPEG-4 Part 2 stands for old uploads.
CODECS = (("h264", 0.33), ("hevc", 0.25), ("av1", 0.22), ("vp9", 0.16), ("mpeg4", 0.04))
_PRESETS = {
    "h264": ("veryfast", "medium", "medium"),
    "hevc": ("ultrafast", "fast", "fast"),
    "av1": ("10", "9"),
    "vp9": ("8", "5"),
    "mpeg4": ("",),
}


def draw_encoder(qp: int, rng: random.Random) -> tuple[str, int, str]:
    """Codec, quantizer on the codec's own scale, and preset for a QP on the H.264 scale."""
    codec = rng.choices([c for c, _ in CODECS], [w for _, w in CODECS])[0]
    return codec, quantizer(codec, qp, rng), rng.choice(_PRESETS[codec])


def quantizer(codec: str, qp: int, rng: random.Random) -> int:
    """A QP of H.264 on the scale of `codec`."""
    if codec in ("h264", "hevc"):
        return qp
    if codec == "mpeg4":
        # its step doubles with the number, H.264's every six QPs
        return min(31, max(2, round(2 ** ((qp - 16) / 6))))
    # AV1 and VP9 count to 63 and stay clean for longer, so their low end is stretched
    return min(63, round(qp * 63 / 47) + rng.randint(0, 3))


def encoder_arguments(codec: str, q: int, preset: str) -> tuple[list[str], str]:
    """Encoder options and the file suffix; one thread, so that the bytes do not depend on the machine."""
    match codec:
        case "h264":
            return ["-c:v", "libx264", "-preset", preset, "-crf", str(q), "-threads", "1"], ".mp4"
        case "hevc":
            options = "log-level=error:pools=none:frame-threads=1"
            return ["-c:v", "libx265", "-preset", preset, "-crf", str(q), "-x265-params", options], ".mp4"
        case "av1":
            return ["-c:v", "libsvtav1", "-preset", preset, "-crf", str(q), "-svtav1-params", "lp=1"], ".mp4"
        case "vp9":
            speed = ["-deadline", "realtime", "-cpu-used", preset, "-threads", "1"]
            return ["-c:v", "libvpx-vp9", "-crf", str(q), "-b:v", "0", *speed], ".webm"
        case "mpeg4":
            return ["-c:v", "mpeg4", "-q:v", str(q), "-threads", "1"], ".mp4"
        case _:
            raise InvalidArgument(f"synthesis: codec must be one of {[c for c, _ in CODECS]}, got {codec!r}")
