"""Drawing the recipes of versions after the KVQ dataset paper (Lu et al., CVPR 2024, section 7).

Half of the paper's videos are clean and only transcoded; the other half are of low quality, are enhanced
with one tool, pre-processed with probability 0.5, and transcoded; the QP is drawn from each of six
intervals in turn. What the paper's uploads bring along by themselves is made here first: capture
faults, an earlier generation of compression. Frame drops, freezes and down-scaled renditions are added.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.training.synthesis import filters
from vqafast.training.synthesis.encoders import draw_encoder

if TYPE_CHECKING:
    import random

#: The paper's six QP intervals on the H.264 scale (section 7, transcoding).
QP_INTERVALS = ((16, 23), (24, 31), (32, 35), (36, 39), (40, 43), (44, 47))
#: x264 CRF ladder made for every source: monotonicity within a source is measured on it.
LADDER = (17, 22, 27, 32, 37, 42, 47)
SCALES = (0.75, 0.667, 0.5, 0.375)
#: Odds of the flows. The last two are not the paper's: low quality left as it is, and lost frames.
GROUPS = (
    ("transcode", 0.48),
    ("enhance", 0.15),
    ("enhance+preprocess", 0.15),
    ("capture", 0.14),
    ("temporal", 0.08),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One version: `filters` act before the encoder, `scale` shrinks the rendition.

    `earlier` is an encode before the filters (codec, quantizer, preset). `scaler` brings a shrunk
    rendition back to the master's size. `step` 2 means that every other frame is missing from the
    file. `steps` names what was done, for tables. `quantizer` is on the codec's own scale.
    """

    group: str
    codec: str
    quantizer: int
    preset: str
    filters: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    earlier: tuple[str, int, str] | None = None
    scale: float = 1.0
    scaler: str = "bicubic"
    step: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Fields for the index."""
        return asdict(self)


def ladder() -> list[Recipe]:
    """The plain x264 CRF ladder."""
    return [Recipe("ladder", "h264", crf, "medium", steps=("x264",)) for crf in LADDER]


def draw(index: int, frames: int, rate: float, rng: random.Random) -> Recipe:
    """The `index`-th random version of a master; QP intervals are visited in turn."""
    qp = rng.randint(*QP_INTERVALS[index % len(QP_INTERVALS)])
    group = rng.choices([g for g, _ in GROUPS], [w for _, w in GROUPS])[0]
    stages: list[tuple[str, str]] = []
    earlier, step = None, 1
    if group in ("capture", "enhance", "enhance+preprocess"):
        # an upload of low quality: a capture fault, an earlier encode, or both
        if rng.random() < 0.4:
            earlier = draw_encoder(rng.randint(22, 40), rng)
        if earlier is None or rng.random() < 0.4:
            stages.append(filters.capture(rng))
    if group.startswith("enhance"):
        stages.append(filters.enhance(rng))
    if group.endswith("preprocess"):
        stages.append(filters.preprocess(rng))
    if group == "temporal":
        halved = rng.random() < 0.4
        stages.append(filters.half_rate() if halved else filters.freeze(frames, rate, rng))
        step = 2 if halved else 1
    codec, q, preset = draw_encoder(qp, rng)
    scale = rng.choice(SCALES) if rng.random() < 0.3 else 1.0
    names = [name for name, _ in stages] + (["recompressed"] if earlier else [])
    return Recipe(
        group=group, codec=codec, quantizer=q, preset=preset, filters=tuple(f for _, f in stages),
        steps=(*names, *(("rescaled",) if scale < 1 else ())), earlier=earlier, scale=scale,
        scaler=rng.choice(filters.SCALERS), step=step,
    )  # fmt: skip
