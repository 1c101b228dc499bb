"""Every number of KSVQE, with its source.

**paper** is Lu et al., CVPR 2024; **release** is lixinustc/KVQ-Challenge-CVPR-NTIRE2024: **model** stands for
its models/backbones/KSVQE_model.py, **train** for config/Kwai_KSVQE.yml, **test** for
config/Kwai_KSVQE_test.yml.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vqafast.errors import InvalidArgument

from ..clip.visual import ClipConfig
from ..fast_vqa.config import HeadConfig, Sampling, SwinConfig

#: Frames of a clip that CLIP sees (model, obtain_keyframes); its N_key = 5 is not used.
KEY_FRAMES = 4
# Fewer frames, and two key frames would be one (`regions.key_frames`).
_FEWEST_FRAMES = 8


@dataclass(frozen=True, slots=True)
class ContriqueConfig:
    """ResNet-50 and projector of CONTRIQUE (model, CONTRIQUE_model); smaller ones are for tests."""

    width: int = 64  # channels of the stem
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    out: int = 128  # of an embedding

    def __post_init__(self) -> None:
        if len(self.blocks) != 4 or min(self.width, self.out, *self.blocks) < 1:
            raise InvalidArgument(f"ContriqueConfig: four stages and sizes >= 1 must be given, got {self}")

    @property
    def features(self) -> int:
        """Channels of the encoder's last map."""
        return 32 * self.width


@dataclass(frozen=True, slots=True)
class KsvqeConfig:
    """The network; the defaults are the release's."""

    name: str = "ksvqe"
    swin: SwinConfig = field(default_factory=SwinConfig)  # model: FAST-VQA-B's
    head: HeadConfig = field(default_factory=HeadConfig)  # train, test: 768, 64
    # train, test: 32 frames, every fourth (paper, section 5.2: every second), 9 x 9 fragments of 32
    # pixels, places kept for 8 frames; 3 clips when scoring, 1 in training.
    sampling: Sampling = field(
        default_factory=lambda: Sampling(frames=32, interval=4, clips=3, grid=9, aligned=8)
    )
    clip: ClipConfig = field(default_factory=ClipConfig)  # paper, section 5.2: ViT-B; release: ViT-B/16
    # Pixels a side of the key frames. train, test: size_h, size_w, to which CLIP's positions are stretched
    # (release, resize_pos_embed2d); paper, section 5.2: 224.
    frames_side: int = 112
    contrique: ContriqueConfig = field(default_factory=ContriqueConfig)
    # First CLIP layer whose class token is adapted. train, test: 8, four adapters; paper, section 5.2,
    # and model's default: 10, two.
    adapter_start: int = 8
    adapter_share: float = 0.5  # release, CLIP_backbone.py: ratio
    reduction: int = 4  # hidden layer of every adapter: paper, section 10.2, 768-192-768 and 128-32-768
    region: int = 7  # fragments a side that are kept: paper, table 12
    # First Swin stage that is followed by modulation. model's default and test: 2; train: 1.
    tuning_stage: int = 2
    # First weights of the distortion-aware and the content-adaptive branch. train: 1 and 2; model's
    # default: 1 and 0. Both are learnt.
    a1: float = 1.0
    a2: float = 2.0
    sigma: float = 0.5  # paper, section 10.1: of the noise in training
    num_samples: int = 500  # model's default; train, test: 1
    distortion_share: float = 0.2  # model: of the adapter in CONTRIQUE's embedding
    distortion_weight: float = 0.3  # release, trainer_ddp.py: of the contrastive loss
    # CONTRIQUE's batch norms keep their statistics in training. The release's model.train() makes them
    # take those of the batch, and moves the running ones away from the frozen weights they belong to.
    fixed_statistics: bool = True

    def __post_init__(self) -> None:
        swin, sampling, stages = self.swin, self.sampling, len(self.swin.depths)
        if self.head.channels != swin.widths[-1]:
            raise InvalidArgument(
                f"KsvqeConfig: the head must take Swin's {swin.widths[-1]} channels, got {self.head.channels}"
            )
        if swin.adaptive or swin.patch[0] != 2:
            raise InvalidArgument(
                "KsvqeConfig: swin must have tokens of two frames and windows that are not adaptive, got "
                f"{swin.patch} and {swin.adaptive}"
            )
        if stages < 2 or not 0 <= self.tuning_stage < stages:
            raise InvalidArgument(
                "KsvqeConfig: tuning_stage must be one of at least two stages, got "
                f"{self.tuning_stage} of {stages}"
            )
        if sampling.frames < _FEWEST_FRAMES or sampling.frames % 2:
            raise InvalidArgument(
                f"KsvqeConfig: frames must be even and >= {_FEWEST_FRAMES}, got {sampling.frames}"
            )
        if not 1 <= self.region <= sampling.grid or not 1 <= sampling.patch <= 32:
            raise InvalidArgument(
                "KsvqeConfig: 1 <= region <= grid and 1 <= patch <= 32 must hold, got "
                f"{self.region}, {sampling.grid}, {sampling.patch}"
            )
        if self.frames_side < 1 or self.frames_side % self.clip.patch:
            raise InvalidArgument(
                f"KsvqeConfig: frames_side must be a multiple of {self.clip.patch}, got {self.frames_side}"
            )
        if not 0 <= self.adapter_start <= self.clip.layers:
            raise InvalidArgument(
                f"KsvqeConfig: adapter_start must be in 0..{self.clip.layers}, got {self.adapter_start}"
            )
        if not 1 <= self.reduction <= min(self.clip.width, self.contrique.out):
            raise InvalidArgument(
                f"KsvqeConfig: reduction must leave the adapters a channel, got {self.reduction}"
            )
        if not (0 <= self.adapter_share <= 1 and 0 <= self.distortion_share <= 1):
            raise InvalidArgument(
                f"KsvqeConfig: shares must be in [0, 1], got {self.adapter_share} and {self.distortion_share}"
            )
        if not self.sigma > 0 or self.num_samples < 1:
            raise InvalidArgument(
                "KsvqeConfig: sigma > 0 and num_samples >= 1 must hold, got "
                f"{self.sigma} and {self.num_samples}"
            )

    @property
    def adapters(self) -> int:
        """CLIP layers with an adapter."""
        return self.clip.layers - self.adapter_start

    @property
    def modulated(self) -> tuple[tuple[int, int], ...]:
        """Channels and heads of the modulation after each stage from `tuning_stage` on.

        Channels are those after merging; heads are those of the stage before it. The last stage does not
        merge, and has what the one before it has.
        """
        last = len(self.swin.depths) - 2
        stages = [min(i, last) for i in range(self.tuning_stage, len(self.swin.depths))]
        return tuple((self.swin.widths[i + 1], self.swin.heads[i]) for i in stages)

    @property
    def frames_grid(self) -> int:
        """Patches a side of a key frame."""
        return self.frames_side // self.clip.patch

    @property
    def side(self) -> int:
        """Pixels a side of a clip of fragments."""
        return self.sampling.grid * self.sampling.patch
