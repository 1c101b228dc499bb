"""Vision transformers under timm's parameter names, for the rows "ViT" of paper 001, table 5.

The paper names two by reference only: one trained for image quality ([50]) and one for
classification ([8]). MANIQA (Yang et al., 2022) builds on ViT-B/8 and reads its blocks 7 to 10; the
classifier is ViT-B/16 (Dosovitskiy et al., 2021). How the paper pools tokens is not said: here
they are laid out as maps, and pooled like those of a ResNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .resnet import StageMaps

_GRID = 224


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class VitStages(nn.Module):
    """A ViT whose tokens after chosen blocks are its maps.

    Parameters
    ----------
    patch : int
        Pixels a side of a token.
    taps : tuple of int
        Blocks, counted from 0, whose output is a map.
    width, depth, heads : int
        768, 12 and 12 are the published ViT-B.
    classes : int or None
        With a number there is a classifier ``head``, so that whole checkpoints load strictly; it is
        never run, and neither are the blocks after the last tap.
    """

    def __init__(
        self,
        patch: int,
        taps: tuple[int, ...],
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.taps = patch, taps
        self.grid = _GRID // patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.patch_embed = _PatchEmbed(width, patch)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if classes is not None:
            self.head = nn.Linear(width, classes)
        self.channels = (width,) * len(taps)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, frames: Tensor) -> StageMaps:
        """Map ``(N, 3, H, W)``, sides of at least one token, to maps ``(N, width, H/patch, W/patch)``.

        Pictures that are not 224 x 224 get position embeddings interpolated to their grid; what
        is left over beside whole tokens is not seen.
        """
        x = self.patch_embed(frames)
        height, width = x.shape[2], x.shape[3]
        tokens = x.flatten(2).transpose(1, 2)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(x.shape[0], -1, -1)
        tokens = torch.cat([first, tokens + self._positions(height, width)], dim=1)
        maps = []
        for i, block in enumerate(self.blocks[: max(self.taps) + 1]):
            tokens = block(tokens)
            if i in self.taps:
                maps.append(tokens[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, height, width))
        return tuple(maps)

    def _positions(self, height: int, width: int) -> Tensor:
        table = self.pos_embed[:, 1:]
        # An exported graph must hold for all sizes; at 224 x 224 resizing changes nothing.
        if not torch.onnx.is_in_onnx_export() and (height, width) == (self.grid, self.grid):
            return table
        square = table.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        resized = nn.functional.interpolate(square, (height, width), mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2)


def vit_b8_iqa(*, classes: int | None = None) -> VitStages:
    """ViT-B/8, blocks 7 to 10 as in MANIQA: four maps of 768 channels, 6144 pooled."""
    return VitStages(8, (6, 7, 8, 9), classes=classes)


def vit_b16(*, classes: int | None = None) -> VitStages:
    """ViT-B/16, a map after each quarter of its blocks: four maps of 768 channels, 6144 pooled."""
    return VitStages(16, (2, 5, 8, 11), classes=classes)


__all__ = ["VitStages", "vit_b8_iqa", "vit_b16"]
