"""Drawing distortion recipes (KVQ, CVPR 2024, section 7) and writing them as FFmpeg arguments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

#: The paper's six QP intervals on the H.264 scale (section 7, transcoding).
QP_INTERVALS = ((16, 23), (24, 31), (32, 35), (36, 39), (40, 43), (44, 47))
#: x264 CRF ladder made for every source: monotonicity within a source is measured on it.
LADDER = (17, 22, 27, 32, 37, 42, 47)
#: Codecs with their odds; libvpx is the slowest, so it is drawn least.
CODECS = (("h264", 0.34), ("hevc", 0.24), ("av1", 0.24), ("vp9", 0.18))
SCALES = (0.75, 0.5, 0.375)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One version: `filters` act before the encoder, `scale` shrinks the rendition.

    `quantizer` is on the codec's own scale (0..51 for H.264 and HEVC, 0..63 for AV1 and VP9).
    """

    group: str
    filters: tuple[str, ...]
    scale: float
    codec: str
    quantizer: int

    def as_dict(self) -> dict[str, Any]:
        """Fields for the index."""
        return asdict(self)


def ladder() -> list[Recipe]:
    """The plain x264 CRF ladder."""
    return [Recipe("ladder", (), 1.0, "h264", crf) for crf in LADDER]


def draw(index: int, rng: random.Random) -> Recipe:
    """The `index`-th random version of a source; intervals are visited in turn.

    Half of the versions are only transcoded; the other half are degraded or enhanced first
    and, half of those, pre-processed (section 7: the three working flows).
    """
    low, high = QP_INTERVALS[index % len(QP_INTERVALS)]
    qp = rng.randint(low, high)
    codec = rng.choices([c for c, _ in CODECS], [w for _, w in CODECS])[0]
    quantizer = qp if codec in ("h264", "hevc") else wide_quantizer(qp, rng)
    filters: tuple[str, ...] = ()
    group = "transcode"
    if rng.random() < 0.5:
        filters, group = (_degrade(rng),), "enhance"
        if rng.random() < 0.5:
            filters, group = (*filters, _preprocess(rng)), "enhance+preprocess"
    scale = rng.choice(SCALES) if rng.random() < 0.3 else 1.0
    return Recipe(group, filters, scale, codec, quantizer)


def wide_quantizer(qp: int, rng: random.Random) -> int:
    """AV1 and VP9 count to 63 and stay clean for longer, so their low end is stretched."""
    return min(63, round(qp * 63 / 47) + rng.randint(0, 3))


def _degrade(rng: random.Random) -> str:
    """A capture fault or an enhancement tool gone a little too far, at a drawn strength."""
    kind = rng.choice(("blur", "noise", "noise", "denoise", "sharpen", "deartifact", "box"))
    strength = rng.random()
    match kind:
        case "blur":
            return f"gblur=sigma={0.4 + 2.6 * strength**1.5:.3f}"
        case "noise":
            return f"noise=alls={int(3 + 32 * strength**1.5)}:allf={rng.choice(('t', 't+u', 't+a'))}"
        case "denoise":
            return f"hqdn3d={2 + 14 * strength:.2f}"
        case "sharpen":
            return f"unsharp=5:5:{0.3 + 1.7 * strength:.3f}"
        case "deartifact":
            return f"spp=quality=3:qp={int(10 + 30 * strength)}"
        case _:
            return f"avgblur=sizeX={1 + int(2.5 * strength)}"


def _preprocess(rng: random.Random) -> str:
    """Removing detail to save bits: everywhere, or outside a region of interest."""
    sigma = 0.3 + 0.9 * rng.random()
    if rng.random() < 0.5:
        return f"gblur=sigma={sigma:.3f}"
    x, y = rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)
    roi = f"crop=trunc(iw*0.275)*2:trunc(ih*0.275)*2:iw*{x:.3f}:ih*{y:.3f}"
    return (
        f"split[whole][part];[whole]gblur=sigma={sigma * 1.6:.3f}[soft];[part]{roi}[sharp];"
        f"[soft][sharp]overlay=W*{x:.3f}:H*{y:.3f}"
    )


def encoder_arguments(recipe: Recipe) -> tuple[list[str], str]:
    """Encoder options and the file suffix for a recipe."""
    q = str(recipe.quantizer)
    match recipe.codec:
        case "h264":
            return ["-c:v", "libx264", "-preset", "medium", "-crf", q, "-threads", "1"], ".mp4"
        case "hevc":
            options = "log-level=error:pools=none:frame-threads=1"
            return ["-c:v", "libx265", "-preset", "fast", "-crf", q, "-x265-params", options], ".mp4"
        case "av1":
            return ["-c:v", "libsvtav1", "-preset", "9", "-crf", q, "-svtav1-params", "lp=1"], ".mp4"
        case "vp9":
            speed = ["-deadline", "realtime", "-cpu-used", "5", "-threads", "1"]
            return ["-c:v", "libvpx-vp9", "-crf", q, "-b:v", "0", *speed], ".webm"
        case _:
            raise AssertionError(recipe.codec)
