"""The backbones that variants name, without torch: what they take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# PySlowFast's and PyTorchVideo's SlowFast checkpoints.
KINETICS_MEAN = (0.45, 0.45, 0.45)
KINETICS_STD = (0.225, 0.225, 0.225)


@dataclass(frozen=True, slots=True)
class Backbone:
    """One row of `BACKBONES`.

    Attributes
    ----------
    dim : int
        Pooled features: mean and standard deviation of every channel of its maps.
    motion : bool
        It convolves or attends over time, and must see a clip's frames together and in order.
    mean, std : tuple of float
        Of its input, RGB in 0..1.
    side : int or None
        Pixels a side that its published weights were trained at and its position embeddings are
        for; None for networks that take any size alike.
    weights : str
        The public weights that papers 001 and 000 use: a key of `official.OFFICIAL`.
    exportable : bool
        It can be one ONNX graph for any length and size.
    """

    dim: int
    motion: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side: int | None
    weights: str
    exportable: bool = True


BACKBONES: dict[str, Backbone] = {
    "resnet34_iqa": Backbone(1920, False, IMAGENET_MEAN, IMAGENET_STD, None, "unique"),
    "resnet50": Backbone(7680, False, IMAGENET_MEAN, IMAGENET_STD, None, "resnet50-imagenet"),
    "resnet50_last": Backbone(4096, False, IMAGENET_MEAN, IMAGENET_STD, None, "resnet50-imagenet"),
    "slowfast_fast": Backbone(512, True, KINETICS_MEAN, KINETICS_STD, None, "slowfast-kinetics"),
    # MANIQA normalises to -1..1.
    "vit_b8_iqa": Backbone(6144, False, (0.5,) * 3, (0.5,) * 3, 224, "maniqa-koniq10k"),
    "vit_b16": Backbone(6144, False, IMAGENET_MEAN, IMAGENET_STD, 224, "vit-b16-imagenet"),
    # Its windows depend on the clip's length and size.
    "swin3d_t": Backbone(1536, True, IMAGENET_MEAN, IMAGENET_STD, 224, "swin3d-kinetics", exportable=False),
}


def construct(name: str) -> nn.Module:
    """Make a backbone with random weights; needs torch.

    Raises
    ------
    InvalidArgument
        For a name that is not in `BACKBONES`.
    """
    if name not in BACKBONES:
        raise InvalidArgument(f"backbone must be one of {list(BACKBONES)}, got {name!r}")
    from . import resnet, slowfast, swin3d, vit

    makers: dict[str, Callable[[], nn.Module]] = {
        "resnet34_iqa": resnet.resnet34_iqa,
        "resnet50": resnet.resnet50,
        "resnet50_last": resnet.resnet50_last,
        "slowfast_fast": slowfast.SlowFastFast,
        "vit_b8_iqa": vit.vit_b8_iqa,
        "vit_b16": vit.vit_b16,
        "swin3d_t": swin3d.swin3d_t,
    }
    return makers[name]()
