"""Every number of KVQ, with its place in the paper, or why it is so where the paper is silent.

**002** is the supplementary of "KVQ: Boosting Video Quality Assessment via Saliency-guided Local
Perception" (Qu et al., CVPR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vqafast.errors import InvalidArgument

from ..fast_vqa.config import HeadConfig, Size, SwinConfig

#: Both parts of fusion window attention, or one alone (002, table 9: FWA, IWA, CWA).
Attention = Literal["fused", "inner", "cross"]


def video_swin_tiny() -> SwinConfig:
    """Video Swin-T as of Kinetics-400 (002, section 1.2): no second bias table in any stage."""
    return SwinConfig(fragment_bias=(False, False, False, False))


@dataclass(frozen=True, slots=True)
class KvqConfig:
    """The network and what it looks at; the defaults are the paper's where it says.

    Raises
    ------
    InvalidArgument
        When parts do not fit each other.
    """

    swin: SwinConfig = field(default_factory=video_swin_tiny)
    # "Prediction head" (002, section 3.1), of which no more is said: FAST-VQA's, once for quality and once
    # for saliency.
    head: HeadConfig = field(default_factory=HeadConfig)
    # k of the last stages, which have fusion window blocks (002, section 1.2 and table 7). The stages before
    # them are Swin's.
    correlated: tuple[int, ...] = (8, 4)
    attention: Attention = "fused"
    multi_scale: bool = True  # blocks have saliency maps too (002, table 5)
    # Frames, rows and columns in pixels of the local perception constraint's cubes. The paper's (2, 28, 28)
    # is not a multiple of `stride`: see the table in `network`.
    cube: Size = (2, 32, 32)
    side: int = 448  # the picture is resized to this square (002, section 3.1 and table 8)
    # Neither source says. In all as many tokens as FAST-VQA's four clips have, which table 4's times speak
    # for, at two places of the video; windows reach over 16 frames anyway.
    clips: int = 2
    frames: int = 16
    interval: int = 2  # that of the Kinetics weights and of FAST-VQA

    def __post_init__(self) -> None:
        s = self.swin
        if s.adaptive or any(s.fragment_bias):
            raise InvalidArgument(
                "KvqConfig: swin must have fixed windows and no fragment bias, got "
                f"adaptive={s.adaptive}, fragment_bias={s.fragment_bias}"
            )
        if not 1 <= len(self.correlated) < len(s.depths) or min(self.correlated) < 1:
            raise InvalidArgument(
                "KvqConfig: correlated must be >= 1, for one or more stages and not for all, "
                f"got {self.correlated} for {len(s.depths)} stages"
            )
        if self.head.channels != s.widths[-1]:
            raise InvalidArgument(
                f"KvqConfig: head.channels must be the last stage's width {s.widths[-1]}, "
                f"got {self.head.channels}"
            )
        if self.attention not in ("fused", "inner", "cross"):
            raise InvalidArgument(
                f"KvqConfig: attention must be fused, inner or cross, got {self.attention!r}"
            )
        if min(self.cube) < 1 or any(c % n for c, n in zip(self.cube, self.stride, strict=True)):
            raise InvalidArgument(
                f"KvqConfig: cube must be a multiple of a region's {self.stride} pixels, got {self.cube}"
            )
        if min(self.side, self.clips, self.frames, self.interval) < 1:
            raise InvalidArgument(
                "KvqConfig: side, clips, frames and interval must be >= 1, "
                f"got {self.side}, {self.clips}, {self.frames}, {self.interval}"
            )

    @property
    def plain(self) -> int:
        """Stages before the fusion window blocks."""
        return len(self.swin.depths) - len(self.correlated)

    @property
    def stride(self) -> Size:
        """Frames, rows and columns in pixels of one region of the maps."""
        (a, b, c), merges = self.swin.patch, len(self.swin.depths) - 1
        return a, b << merges, c << merges


@dataclass(frozen=True, slots=True)
class KvqTraining:
    """How the network is trained (002, section 1.2): AdamW on PLCC, rank and local perception losses.

    The loss is PLCC loss + `rank_weight` * rank loss + `perception_weight` * local perception loss. The
    supplementary gives both weights and leaves the first term unnamed: PLCC's, as in FAST-VQA.
    """

    epochs: int = 30
    learning_rate: float = 5e-4
    weight_decay: float = 5e-2
    rank_weight: float = 0.5  # lambda_r
    perception_weight: float = 0.05  # lambda_p
