"""Every number of CLiF-VQA, with its place in the paper, or why it is so where the paper is silent."""

from __future__ import annotations

from dataclasses import dataclass, field

from vqafast.errors import InvalidArgument

from ..clip.visual import ClipConfig
from ..fast_vqa.config import HeadConfig, Sampling, SwinConfig

#: Named in the paper's text (sections 1 and 3): bright, contrast, noisy, colorful, blurry; the others are
#: their opposites and the two faults that streaming makes. Its whole list is a picture (fig. 2).
OBJECTIVE = ("bright", "dark", "high-contrast", "colorful", "sharp", "blurry", "noisy", "compressed")
#: Named there: pleasant, boring, fearful, interesting, exciting, depressing; two more calm the list.
SUBJECTIVE = (
    "pleasant", "interesting", "exciting", "relaxing", "boring", "depressing", "fearful", "annoying",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClifConfig:
    """The network and what it looks at; the defaults are the paper's where it says."""

    name: str = "clif-vqa"
    swin: SwinConfig = field(default_factory=SwinConfig)  # section 4.2: FAST-VQA's
    # "Two 3D convolutional layers" (eq. 10): FAST-VQA's head, whose weights then load.
    head: HeadConfig = field(default_factory=HeadConfig)
    sampling: Sampling = field(
        default_factory=lambda: Sampling(frames=32, interval=2, clips=4, grid=7, aligned=32)
    )  # FAST-VQA-B's
    clip: ClipConfig = field(default_factory=ClipConfig)  # the paper does not say which CLIP; KSVQE's
    blocks: int = 3  # section 5.1: 9 blocks a frame, as rows and columns
    # T of eq. 7, for each clip. "Each frame of the video": neighbours hardly differ in what they show,
    # and CLIP costs far more than the rest, so that every fourth frame of a clip is looked at.
    looks: int = 8
    descriptions: tuple[str, ...] = (*OBJECTIVE, *SUBJECTIVE)  # r of them, one softmax over all (eq. 2)
    prompt: str = "a {} photo."  # CLIP-IQA's form, on which the paper builds
    semantic_hidden: int = 64  # of FC_1 (eq. 8), which works along time
    regression_hidden: int = 128  # of FC_3 (eq. 13)

    def __post_init__(self) -> None:
        if min(self.blocks, self.looks, self.semantic_hidden, self.regression_hidden) < 1:
            raise InvalidArgument(f"ClifConfig: sizes must be >= 1, got {self}")
        if self.looks > self.sampling.frames or self.sampling.segments != 1:
            raise InvalidArgument(
                "ClifConfig: looks must be frames of a clip in one run, got "
                f"{self.looks} of {self.sampling.frames} in {self.sampling.segments} runs"
            )
        if len(self.descriptions) < 2 or len(set(self.descriptions)) < len(self.descriptions):
            raise InvalidArgument(
                f"ClifConfig: descriptions must be two or more different ones, got {self.descriptions}"
            )
        if self.prompt.count("{}") != 1:
            raise InvalidArgument(f"ClifConfig: prompt must have one {{}}, got {self.prompt!r}")

    @property
    def features(self) -> int:
        """2r: the mean and the largest response of each description (eq. 6)."""
        return 2 * len(self.descriptions)

    @property
    def tokens(self) -> int:
        """Local scores of a clip, side by side in F_f (eq. 11)."""
        (frames, high, wide), last = self.sampling.size, len(self.swin.depths) - 1
        a, b, c = self.swin.patch
        return -(-frames // a) * _halved(-(-high // b), last) * _halved(-(-wide // c), last)


def _halved(side: int, times: int) -> int:
    for _ in range(times):
        side = -(-side // 2)
    return side
