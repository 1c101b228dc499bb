"""Every number of FAST-VQA's networks, and the published systems by name.

Sources, by short name: **fast** is VQAssessment/FAST-VQA-and-FasterVQA (`fastvqa/models/*.py`,
`options/fast/*.yml`), **dover** VQAssessment/DOVER (`dover.yml`, `dover/models/*.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from vqafast.errors import InvalidArgument

Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class SwinConfig:
    """Video Swin Transformer with gated relative position bias; the defaults are FAST-VQA-B's.

    Every default is that of `SwinTransformer3D` in fast, where a comment does not say otherwise.
    """

    channels: int = 3
    patch: Size = (2, 4, 4)  # frames, rows, columns of a token
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: Size = (8, 7, 7)  # tokens; every second block is shifted by half of it
    mlp_ratio: int = 4
    qkv_bias: bool = True
    patch_norm: bool = True
    # Stages whose blocks have a second table, for pairs of tokens of one fragment.
    fragment_bias: tuple[bool, ...] = (True, True, True, False)
    # Grid of fragments that the gate assumes, rows and columns; None: as many as a window has tokens
    # (dover, KVQ's release, the later fast). The first fast had (7, 7) whatever the window.
    fragments: tuple[int, int] | None = None
    # Windows shrink with the input ("AMI" in fast's README): window * size // base_size.
    adaptive: bool = False
    base_size: Size = (32, 224, 224)  # frames, rows, columns in pixels
    # Stochastic depth, linear from 0 at the first block to this at the last. The authors' rates for
    # dropout inside the backbone are all 0, so there is none.
    drop_path: float = 0.1
    # Recompute activations in the backward pass (the authors' use_checkpoint): same numbers, less memory.
    recompute: bool = False

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if stages < 1 or len(self.heads) != stages or len(self.fragment_bias) != stages:
            raise InvalidArgument(
                "SwinConfig: depths, heads and fragment_bias must have one entry per stage, "
                f"got {self.depths}, {self.heads}, {self.fragment_bias}"
            )
        numbers = (self.channels, self.width, self.mlp_ratio, *self.patch, *self.window, *self.base_size)
        if min(*numbers, *self.depths, *self.heads) < 1:
            raise InvalidArgument(f"SwinConfig: sizes must be >= 1, got {self}")
        for i, heads in enumerate(self.heads):
            if (self.width << i) % heads:
                raise InvalidArgument(
                    f"SwinConfig: heads must divide their stage's width, got {heads} for {self.width << i}"
                )
        if not 0 <= self.drop_path < 1:
            raise InvalidArgument(f"SwinConfig: drop_path must be in [0, 1), got {self.drop_path}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width << i for i in range(len(self.depths)))


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """`VQAHead` of fast and dover: fast-b.yml, dover.yml (widths), head.py (dropout)."""

    channels: int = 768
    hidden: int = 64
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if min(self.channels, self.hidden) < 1 or not 0 <= self.dropout < 1:
            raise InvalidArgument(
                "HeadConfig: channels, hidden >= 1 and dropout in [0, 1) must hold, "
                f"got {self.channels}, {self.hidden}, {self.dropout}"
            )


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the authors feed: `clips` clips of `frames` frames, `grid` x `grid` patches of `patch` pixels.

    Pixels are RGB 0..255, normalised with `MEAN` and `STD`; a video's score is the mean over its clips.
    """

    frames: int  # clip_len
    interval: int  # frame_interval
    clips: int  # num_clips
    grid: int  # fragments_h, fragments_w
    aligned: int  # frames that share the positions of their patches
    segments: int = 1  # t_frag: a clip is this many runs of frames, spread over the video
    patch: int = 32  # fsize_h, fsize_w

    @property
    def size(self) -> Size:
        """Frames, rows and columns of a clip."""
        return self.frames, self.grid * self.patch, self.grid * self.patch


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Backbone and head under the names of an authors' checkpoint."""

    name: str
    backbone: SwinConfig
    sampling: Sampling
    head: HeadConfig = HeadConfig()
    backbone_name: str = "fragments_backbone"
    head_name: str = "vqa_head"
    # Names of older files, first match wins: fast's own scripts rename these when they load
    # (new_test.py, apis/fast_vqa_model.py: files up to v0.3 hold "backbone." and "cls_head.").
    renamed: tuple[tuple[str, str], ...] = ()
    # Parts of a checkpoint that this network does not have.
    left_out: tuple[str, ...] = ()
    # Mean and standard deviation of raw scores: sigmoid((score - mean) / std) is on a scale of 0..1
    # (fast's vqa.py; dover's fuse_results).
    rescale: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.head.channels != self.backbone.widths[-1]:
            raise InvalidArgument(
                f"NetworkConfig: the head must take the backbone's {self.backbone.widths[-1]} channels, "
                f"got {self.head.channels}"
            )


MEAN = (123.675, 116.28, 103.53)  # fast: fusion_datasets.py, vqa.py
STD = (58.395, 57.12, 57.375)

_OLD_NAMES = (("backbone.", "fragments_backbone."), ("cls_head.", "vqa_head."))
_B = SwinConfig()
_ADAPTIVE = SwinConfig(adaptive=True)
# The first release of M (apis/fast_vqa_model.py, "faster") had fragment biases in the third stage; the
# file of today's release is loaded by an evaluator without any (evaluator.py, swin_tiny_grpb_m).
_M = SwinConfig(window=(4, 4, 4), fragment_bias=(False,) * 4)
_M_V03 = SwinConfig(window=(4, 4, 4), fragment_bias=(False, False, True, False), fragments=(7, 7))
_B_CLIPS = Sampling(frames=32, interval=2, clips=4, grid=7, aligned=32)
_M_CLIPS = Sampling(frames=16, interval=2, clips=4, grid=4, aligned=8)
_FASTER_CLIPS = Sampling(frames=32, interval=2, clips=1, grid=7, aligned=8, segments=8)

#: The published systems. FasterVQA, its MS and its MT share one checkpoint.
PRESETS: dict[str, NetworkConfig] = {
    c.name: c
    for c in (
        NetworkConfig(  # fast-b.yml
            "fast-vqa-b", _B, _B_CLIPS, renamed=_OLD_NAMES, rescale=(-0.110198185, 0.04178565)
        ),
        NetworkConfig(  # fast-m.yml
            "fast-vqa-m", _M, _M_CLIPS, rescale=(0.023889644, 0.030781006)
        ),
        NetworkConfig("fast-vqa-m-v0.3", _M_V03, _M_CLIPS, renamed=_OLD_NAMES),
        NetworkConfig(  # f3dvqa-b.yml
            "fastervqa", _ADAPTIVE, _FASTER_CLIPS, rescale=(0.14759505, 0.03613452)
        ),
        NetworkConfig(  # fastervqa-ms.yml
            "fastervqa-ms",
            _ADAPTIVE,
            Sampling(frames=32, interval=2, clips=1, grid=5, aligned=8, segments=8),
            rescale=(0.15218826, 0.03230298),
        ),
        NetworkConfig(  # fastervqa-mt.yml
            "fastervqa-mt",
            _ADAPTIVE,
            Sampling(frames=16, interval=2, clips=1, grid=7, aligned=8, segments=4),
            rescale=(0.14699507, 0.036453716),
        ),
        NetworkConfig(  # dover.yml
            "dover-technical",
            _B,
            Sampling(frames=32, interval=2, clips=3, grid=7, aligned=32),
            backbone_name="technical_backbone",
            head_name="technical_head",
            # DOVER's other branch, a ConvNeXt on a resized view.
            left_out=("aesthetic_backbone.", "aesthetic_head."),
            rescale=(0.1107, 0.07355),
        ),
    )
}
