"""``a2inet-lite``: the network of the papers on compact backbones, sized for the CPU budget.

Differences from the paper's PR(S+S), each a number below: at most fifteen quality patches of 256
instead of four of 768, on pairs of frames; a semantic view of 144 instead of 540; D = 128 instead
of 1024; and sampling at a fixed rate in time with a head that sees fixed windows, so that a
stream, a file and any segmentation give the same frame scores.
"""

from __future__ import annotations

from fractions import Fraction

from ..spec import QualityView, SamplingSpec, SemanticView

#: What a model sees: pixels alone, or the bits of its file too.
NAMES = {"pixels": "a2inet-lite", "hybrid": "a2inet-lite-hybrid"}
#: Raised whenever any score moves.
VERSION = "0.3.0"

#: What the scene statistics are of: each shows faults that the others do not.
QUALITY_MAPS = ("luma", "gradient", "detail", "difference")
#: Mean and deviation of every channel of the scene statistics (ops.scene_statistics), map by map.
QUALITY_DIM = 176 * len(QUALITY_MAPS)
#: Mean and deviation of the maps of `SceneDescriptors`.
SEMANTIC_DIM = 32

SAMPLING = SamplingSpec(kind="time_grid", rate=Fraction(2), burst=2, window=8)
QUALITY_VIEW = QualityView(
    patches=(5, 3), size=256, align=16, output="luma", mean=(0.0,), std=(1.0,), temporal="pair",
    adaptive=True, features="scene_statistics", maps=QUALITY_MAPS,
)  # fmt: skip
SEMANTIC_VIEW = SemanticView(short_side=144, output="rgb", mean=(0.0,) * 3, std=(1.0,) * 3, temporal=None)

#: Raw scores are trained on a five-point scale, where the softmin of hysteresis pooling is mild.
RAW_PER_VMAF = 5.0 / 100.0
