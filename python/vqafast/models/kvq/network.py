"""KVQ's network: local quality and saliency of every region of a clip, and their product.

What both the supplementary (002) and the abstract leave open:

| decision | why |
|--|--|
| a window's correlation: mean query times the other's mean key, all heads together | "window correlations by the attention mechanism"; one product per pair of windows, and one set of windows per window |
| a window may choose itself | no source excludes it; a clip of one window, as every cube is, has no other |
| equal correlations: lower index first | engines then agree, and flat pictures have equal windows |
| the choice has no gradient | indices; queries and keys learn from the attention between tokens |
| FWA is IWA's projection plus CWA's | the same functions as joining both and projecting; IWA then is Swin's attention, with its weights |
| CWA's projection starts at zero | training starts from the Kinetics network itself |
| IWA's windows shift in every second block, CWA's do not | Swin's weights expect the shift; CWA's windows must be neighbours, which a cyclic shift would mix, and are connected anyway |
| CWA has no position bias | correlated windows may lie at any distance, and a table would fix the input's size |
| padding: masked in CWA, attended to in IWA | a padded key is no content; IWA is as Swin was trained |
| saliency of a block: norm and FC on its tokens | the least that gives a map; attention weights would have to be kept |
| maps of larger stages: mean logit of the tokens that become one | the last stage's grid; a missing row or column of an odd side does not count |
| ensemble: mean of all logits, one softmax over all places of the clip | shares that sum to 1; logits have their own scale, so weights would add nothing |
| heads: FAST-VQA's, one for quality, one for saliency | "prediction head" |
| cubes of [2, 28, 28] are pixels | 2 frames are one token in time, 28 pixels one window of 7 tokens, and such a cube gives exactly one region; as tokens, [2, 28, 28] would be 4 frames and 112 pixels, 3.5 regions |
| cubes are (2, 32, 32) by default, and any multiple of (2, 32, 32) may be chosen | a region of the maps is 2 x 32 x 32 pixels: 448 / 28 is 16 where the map has 14 places, so 28 cannot be put together on its grid; 32 is the nearest that can, for every multiple |
| the constraint: mean absolute difference, gradients on both sides | the plainest distance; cubes and clip share all weights, and neither is the truth |
"""  # noqa: E501 - a table

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from ..fast_vqa.head import VQAHead
from ..fast_vqa.swin3d import PatchEmbed, Stage
from .fusion import CrossWindowAttention, FusionStage

if TYPE_CHECKING:
    from ..fast_vqa.config import Size
    from .config import KvqConfig


class Maps(NamedTuple):
    """What KVQ says of clips; t = T/2, h = H/32, w = W/32, each rounded up.

    Attributes
    ----------
    score : Tensor
        ``(B,)``: the sum of saliency times quality.
    quality : Tensor
        ``(B, t, h, w)``: of each region, on the scale of the score.
    saliency : Tensor
        ``(B, t, h, w)``: share of each region, 1 in all over each clip.
    """

    score: Tensor
    quality: Tensor
    saliency: Tensor


class FusionSwin(nn.Module):
    """The backbone (002, section 1.1): Swin's stages, then stages of fusion window blocks.

    Parameters that Video Swin has are named as in `vqafast.models.fast_vqa.swin3d.SwinTransformer3D`.

    Parameters
    ----------
    config : KvqConfig
    """

    def __init__(self, config: KvqConfig) -> None:
        super().__init__()
        swin = config.swin
        self.patch_embed = PatchEmbed(swin)
        self.layers = nn.ModuleList(
            Stage(swin, i) if i < config.plain else FusionStage(config, i) for i in range(len(swin.depths))
        )
        self.norm = nn.LayerNorm(swin.widths[-1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            # Alone, it has nothing beside it that would work from the start.
            if isinstance(module, CrossWindowAttention) and config.attention == "fused":
                nn.init.zeros_(module.proj.weight)

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute features and logits of saliency.

        Parameters
        ----------
        clips : Tensor
            ``(B, 3, T, H, W)``, normalised.

        Returns
        -------
        features : Tensor
            ``(B, t, h, w, C)``.
        logits : list of Tensor
            ``(B, t, h, w)``, one for each block that has a map.
        """
        t, h, w = (int(n) for n in clips.shape[2:])
        x, size = self.patch_embed(clips, (t, h, w))
        logits: list[Tensor] = []
        for layer in self.layers:
            if isinstance(layer, FusionStage):
                x, size, found = layer(x, size)
                logits += found
            else:
                x, size = layer(x, size)
        features: Tensor = self.norm(x).reshape(-1, *size, x.shape[2])
        return features, [_shrunk(m, size) for m in logits]


class KVQ(nn.Module):
    """Clips to scores, local quality and saliency.

    Parameters
    ----------
    config : KvqConfig
    """

    def __init__(self, config: KvqConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = FusionSwin(config)
        self.quality_head = VQAHead(config.head)
        self.saliency_head = VQAHead(config.head)

    def maps(self, clips: Tensor) -> Maps:
        """Say quality and saliency of every region.

        Parameters
        ----------
        clips : Tensor
            ``(B, 3, T, H, W)``, normalised.

        Returns
        -------
        Maps

        Raises
        ------
        InvalidArgument
            For another shape.
        """
        if clips.ndim != 5 or clips.shape[1] != self.config.swin.channels:
            raise InvalidArgument(
                f"KVQ: clips must be (B, {self.config.swin.channels}, T, H, W), got {tuple(clips.shape)}"
            )
        features, logits = self.backbone(clips)
        quality: Tensor = self.quality_head(features)
        ensemble = torch.stack([self.saliency_head(features), *logits]).mean(dim=0)
        saliency = ensemble.flatten(1).softmax(dim=1).reshape_as(quality)
        return Maps((saliency * quality).sum(dim=(1, 2, 3)), quality, saliency)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips ``(B, 3, T, H, W)`` to scores ``(B,)``; a video's score is the mean over its clips."""
        return self.maps(clips).score


def _shrunk(x: Tensor, size: Size) -> Tensor:
    """Average ``(B, T, H, W)`` over the tokens that merging joined, down to `size`."""
    _, t, h, w = (int(n) for n in x.shape)
    while (t, h, w) != size:
        # The mean of a value and its copy is the value: what is missing does not count.
        if h % 2:
            x, h = torch.cat([x, x[:, :, -1:]], dim=2), h + 1
        if w % 2:
            x, w = torch.cat([x, x[:, :, :, -1:]], dim=3), w + 1
        h, w = h // 2, w // 2
        x = x.reshape(-1, t, h, 2, w, 2).mean(dim=(3, 5))
    return x


__all__ = ["KVQ", "FusionSwin", "Maps"]
