"""FFmpeg filters of the workflow: capture faults, enhancement, pre-processing, and lost frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

#: Scalers that players and pipelines use; a display's scaler is not known beforehand.
SCALERS = ("bicubic", "bicubic", "bilinear", "lanczos")


def capture(rng: random.Random) -> tuple[str, str]:
    """A fault of lens, sensor or shutter, or an up-scaled upload: its name and its filter."""
    kind = rng.choice(("blur", "box", "noise", "noise", "grain", "motion_blur", "upscaled"))
    strength = rng.random()
    match kind:
        case "blur":
            chain = f"gblur=sigma={0.4 + 2.4 * strength**1.5:.3f}"
        case "box":
            chain = f"avgblur=sizeX={1 + int(2.5 * strength)}"
        case "noise":
            chain = f"noise=alls={int(3 + 30 * strength**1.5)}:allf={rng.choice(('t', 't+u', 't+a'))}"
        case "grain":
            # soft noise of the size of a few pixels, as film and denoising cameras leave it
            chain = f"noise=c0s={int(6 + 34 * strength)}:c0f=t,gblur=sigma={rng.uniform(0.35, 0.7):.3f}"
        case "motion_blur":
            # symmetric: a blur that displaces the picture would be punished for that by its label
            sigma = f"{0.6 + 2.4 * strength:.2f}"
            along, across = (sigma, "0.01") if rng.uniform(0, 180) < 90 else ("0.01", sigma)
            chain = f"gblur=sigma={along}:sigmaV={across}"
        case _:
            factor, kernel = rng.uniform(0.35, 0.85), rng.choice(SCALERS)
            # back to the size before: both sides are even, as masters are
            chain = (
                f"scale=trunc(iw*{factor:.3f}/2)*2:trunc(ih*{factor:.3f}/2)*2:flags=bicubic,"
                f"scale=trunc(iw/{factor:.3f}/2+0.5)*2:trunc(ih/{factor:.3f}/2+0.5)*2:flags={kernel}"
            )
    return kind, chain


def enhance(rng: random.Random) -> tuple[str, str]:
    """One of the tools of the KVQ paper's pool: de-blur, de-noise, de-artifact (section 7)."""
    tool = rng.choice(("deblur", "denoise", "deartifact"))
    strength = rng.random()
    match tool, rng.randrange(3):
        case "deblur", 0:
            chain = f"cas=strength={0.2 + 0.8 * strength:.3f}"
        case "deblur", _:
            chain = f"unsharp={rng.choice((3, 5, 7))}:{rng.choice((3, 5))}:{0.3 + 1.7 * strength:.3f}"
        case "denoise", 0:
            chain = f"atadenoise=0a={0.02 + 0.1 * strength:.3f}:0b={0.04 + 0.2 * strength:.3f}:s=5"
        case "denoise", 1:
            chain = f"vaguedenoiser=threshold={1 + 7 * strength:.2f}"
        case "denoise", _:
            chain = f"hqdn3d={2 + 12 * strength:.2f}"
        case _, 0:
            chain = "deblock=filter=strong:block=8"
        case _:
            chain = f"spp=quality=3:qp={int(10 + 30 * strength)}"
    return tool, chain


def preprocess(rng: random.Random) -> tuple[str, str]:
    """Removing detail to save bits: everywhere, or outside a region of interest (section 7)."""
    sigma = 0.3 + 0.9 * rng.random()
    if rng.random() < 0.5:
        return "global", f"gblur=sigma={sigma:.3f}"
    x, y = rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)
    # both filters cut and paste at the same even position
    roi = f"crop=trunc(iw*0.275)*2:trunc(ih*0.275)*2:trunc(iw*{x:.3f}/2)*2:trunc(ih*{y:.3f}/2)*2"
    return "roi", (
        f"split[whole][part];[whole]gblur=sigma={sigma * 1.6:.3f}[soft];[part]{roi}[sharp];"
        f"[soft][sharp]overlay=trunc(W*{x:.3f}/2)*2:trunc(H*{y:.3f}/2)*2"
    )


def freeze(frames: int, rate: float, rng: random.Random) -> tuple[str, str]:
    """Repeat one frame in place of those that follow it, as a stalled capture or player does."""
    length = rng.randint(max(2, frames // 8), max(3, frames // 2))
    first = rng.randint(2, max(2, frames - length - 2))
    last = min(first + length, frames - 2)
    return "freeze", f"select='not(between(n,{first},{last}))',fps={rate:.6f}"


def half_rate() -> tuple[str, str]:
    """Drop every other frame; those left keep their timestamps."""
    return "half_rate", "select='not(mod(n,2))'"
