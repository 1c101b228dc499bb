"""Public backbone weights: who published them, where, under which names. A list, nothing else.

A SHA-256 is listed where somebody has stated one; `origin` says who. torchvision puts its first
eight digits into the file name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TORCHVISION = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a checkpoint names what a backbone needs.

    Attributes
    ----------
    marker : str
        A key that only this layout has.
    prefix : str
        Stands before the backbone's own names.
    ignore : tuple of str
        Patterns of keys that the backbone has no use for; each must match.
    rename : callable, optional
        From the checkpoint's names, prefix removed, to ours.
    """

    marker: str
    prefix: str = ""
    ignore: tuple[str, ...] = ()
    rename: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Official:
    """One published file; `url` None: it can only be fetched by hand, from `page`.

    `size` in bytes; None: not stated.
    """

    backbone: str
    file: str
    page: str
    url: str | None
    sha256: str | None
    size: int | None
    origin: str
    about: str


OFFICIAL: dict[str, Official] = {
    "resnet50-imagenet": Official(
        backbone="resnet50",
        file="resnet50-0676ba61.pth",
        page="https://docs.pytorch.org/vision/stable/models.html",
        url=_TORCHVISION + "resnet50-0676ba61.pth",
        sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        size=102_530_333,
        origin="torchvision; first digits in the file name",
        about="torchvision ResNet-50, IMAGENET1K_V1: the semantic branch of S+S",
    ),
    "resnet34-imagenet": Official(
        backbone="resnet34_iqa",
        file="resnet34-b627a593.pth",
        page="https://docs.pytorch.org/vision/stable/models.html",
        url=_TORCHVISION + "resnet34-b627a593.pth",
        sha256="b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        size=87_319_819,
        origin="torchvision; first digits in the file name",
        about="torchvision ResNet-34, IMAGENET1K_V1: a stand-in for the quality branch, not the paper's",
    ),
    "unique": Official(
        backbone="resnet34_iqa",
        file="UNIQUE.pt",
        page="https://github.com/zwx8981/UNIQUE",
        url=None,
        sha256=None,
        size=None,
        origin="no checksum is published",
        about="UNIQUE (Zhang et al., 2021), ResNet-34 trained on six image quality sets: the quality branch",
    ),
    "slowfast-kinetics": Official(
        backbone="slowfast_fast",
        file="SLOWFAST_8x8_R50.pyth",
        page="https://github.com/facebookresearch/pytorchvideo",
        url="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOWFAST_8x8_R50.pyth",
        sha256="454f39e1c1f985df2bee2aa27887ed53ff56e74ed8b8cca11203a1a1264d7cc2",
        size=277_138_115,
        origin="stated by users of a mirror, not by its publisher",
        about="PyTorchVideo SlowFast R50 8x8, Kinetics-400: the motion branch of S+M",
    ),
    "maniqa-koniq10k": Official(
        backbone="vit_b8_iqa",
        file="ckpt_koniq10k.pt",
        page="https://github.com/IIGROUP/MANIQA",
        url="https://github.com/IIGROUP/MANIQA/releases/download/Koniq10k/ckpt_koniq10k.pt",
        sha256="a207f8ab57322e6be38ff5c8d019301dc032b454bef21c3c9f9dbf7974eebff6",
        size=543_335_435,
        origin="stated by users, not by its publisher",
        about="MANIQA (Yang et al., 2022), ViT-B/8 trained on KonIQ-10k: table 5's quality ViT",
    ),
    "vit-b16-imagenet": Official(
        backbone="vit_b16",
        file="vit_b_16-c867db91.pth",
        page="https://docs.pytorch.org/vision/stable/models.html",
        url=_TORCHVISION + "vit_b_16-c867db91.pth",
        sha256="c867db91d3e12c6cbadabb610d73c24a546bf82d8c03a9fea34f43a712ddb0e9",
        size=None,
        origin="torchvision; first digits in the file name",
        about="torchvision ViT-B/16, IMAGENET1K_V1: table 5's semantic ViT",
    ),
    "swin3d-kinetics": Official(
        backbone="swin3d_t",
        file="swin3d_t-7615ae03.pth",
        page="https://docs.pytorch.org/vision/stable/models.html",
        url=_TORCHVISION + "swin3d_t-7615ae03.pth",
        sha256="7615ae035996b65eb38dad437ae533d2dfcd36f9f89d28c0f0fa7bfb8e6b3130",
        size=None,
        origin="torchvision; first digits in the file name",
        about="torchvision Video Swin-T, Kinetics-400: table 5's Swin",
    ),
}

_VIT_NAMES = {
    "class_token": "cls_token",
    "encoder.pos_embedding": "pos_embed",
    "conv_proj": "patch_embed.proj",
    "encoder.ln": "norm",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.in_proj_weight": "attn.qkv.weight",
    "self_attention.in_proj_bias": "attn.qkv.bias",
    "self_attention.out_proj": "attn.proj",
    # The published file has the names from before torchvision's MLP became a Sequential.
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
}


def _vit_from_torchvision(key: str) -> str:
    block = re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.(.+)", key)
    rest = block[2] if block else key
    for theirs, ours in _VIT_NAMES.items():
        if rest == theirs or rest.startswith(theirs + "."):
            rest = ours + rest.removeprefix(theirs)
            break
    return f"blocks.{block[1]}.{rest}" if block else rest


_OWN_RESNET = Layout("conv1.weight")
_TORCHVISION_RESNET = Layout("fc.weight", ignore=("fc.*",))

# For each backbone, the layouts known; the first whose marker is there is taken.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "resnet50": (_TORCHVISION_RESNET, _OWN_RESNET),
    "resnet50_last": (_TORCHVISION_RESNET, _OWN_RESNET),
    "resnet34_iqa": (
        # UNIQUE as its demo reads it, through DataParallel, and with that unwrapped. "fc.*" is the
        # unused classifier of its ResNet and, outside the prefix, its own on bilinear features.
        Layout("module.backbone.conv1.weight", "module.backbone.", ("fc.*", "module.fc.*")),
        Layout("backbone.conv1.weight", "backbone.", ("fc.*",)),
        _TORCHVISION_RESNET,
        _OWN_RESNET,
    ),
    "slowfast_fast": (
        Layout(
            "blocks.6.proj.weight",
            ignore=("blocks.*.multipathway_blocks.0.*", "blocks.*.multipathway_fusion.*", "blocks.6.*"),
        ),
        Layout("blocks.0.multipathway_blocks.1.conv.weight"),
    ),
    "vit_b8_iqa": (
        Layout(
            "vit.cls_token",
            "vit.",
            ("head.*", "tablock1.*", "conv1.*", "swintransformer1.*", "tablock2.*", "conv2.*",
             "swintransformer2.*", "fc_score.*", "fc_weight.*"),
        ),
        Layout("head.weight", ignore=("head.*",)),
        Layout("cls_token"),
    ),
    "vit_b16": (
        Layout("class_token", ignore=("heads.*",), rename=_vit_from_torchvision),
        Layout("head.weight", ignore=("head.*",)),
        Layout("cls_token"),
    ),
    "swin3d_t": (Layout("head.weight", ignore=("head.*",)), Layout("patch_embed.proj.weight")),
}  # fmt: skip
