"""Video Swin Transformer (Liu et al., 2022) under torchvision's parameter names: table 5, "Swin".

Its last stage is the map, as the last stage of SlowFast's fast pathway is. A token spans two
frames; each of the two gets the token's features, so that T frames give T feature vectors.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

Size = tuple[int, int, int]
_WINDOW: Size = (8, 7, 7)
_PATCH: Size = (2, 4, 4)


class _WindowAttention(nn.Module):
    """Attention inside windows of (8, 7, 7) tokens, every second time shifted by half a window."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.heads, self.shifted = heads, shifted
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        spans = [2 * w - 1 for w in _WINDOW]
        self.relative_position_bias_table = nn.Parameter(torch.zeros(spans[0] * spans[1] * spans[2], heads))
        self.register_buffer("relative_position_index", _relative_index(_WINDOW))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, H, W, C)`` to the same shape."""
        _, t, h, w, width = x.shape
        size: Size = (t, h, w)
        # An axis shorter than a window is one window, and there is nothing to shift.
        window = tuple(min(s, n) for s, n in zip(size, _WINDOW, strict=True))
        shift = tuple(n // 2 if self.shifted and s > n else 0 for s, n in zip(size, _WINDOW, strict=True))
        pad = [-s % n for s, n in zip(size, window, strict=True)]
        y = nn.functional.pad(x, (0, 0, 0, pad[2], 0, pad[1], 0, pad[0]))
        y = torch.roll(y, [-s for s in shift], (1, 2, 3))
        padded = tuple(y.shape[1:4])
        windows = _split(y, window)
        batch, count, volume, _ = windows.shape
        shape = (batch, count, volume, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(windows).reshape(shape).permute(3, 0, 1, 4, 2, 5).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index[:volume, :volume]]
        bias = bias.permute(2, 0, 1)[None]
        if any(shift):
            bias = bias + _mask(padded, window, shift, x.device)[:, None].to(bias.dtype)
        z = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        z = self.proj(z.transpose(2, 3).reshape(batch, count, volume, width))
        z = torch.roll(_join(z, padded, window), list(shift), (1, 2, 3))
        return z[:, : size[0], : size[1], : size[2]]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, heads, shifted)
        self.norm2 = nn.LayerNorm(width)
        # The places of torchvision's MLP, whose dropouts have no parameters.
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _Merge(nn.Module):
    """Four neighbours in space become one token of twice the width; time stays."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        parts = [x[:, :, dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)]
        out: Tensor = self.reduction(self.norm(torch.cat(parts, dim=4)))
        return out


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, _PATCH, _PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        pad = [-s % p for s, p in zip(x.shape[2:], _PATCH, strict=True)]
        x = self.proj(nn.functional.pad(x, (0, pad[2], 0, pad[1], 0, pad[0])))
        out: Tensor = self.norm(x.permute(0, 2, 3, 4, 1))
        return out


class SwinVideo(nn.Module):
    """Frames of one clip in, one map out.

    Parameters
    ----------
    width, depths, heads
        96, (2, 2, 6, 2) and (3, 6, 12, 24) are the published Swin-T.
    classes : int or None
        With a number there is a classifier ``head``, so that whole checkpoints load strictly; it is
        never run.
    """

    def __init__(
        self,
        *,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        classes: int | None = None,
    ) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(width)
        layers: list[nn.Module] = []
        for i, (depth, n) in enumerate(zip(depths, heads, strict=True)):
            if i > 0:
                layers.append(_Merge(width))
                width *= 2
            layers.append(nn.Sequential(*(_Block(width, n, j % 2 == 1) for j in range(depth))))
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        if classes is not None:
            self.head = nn.Linear(width, classes)
        self.channels = (width,)

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """Map ``(T, 3, H, W)``, the frames of **one** clip in order, to ``(T, 768, H/32, W/32)``."""
        x = self.norm(self.features(self.patch_embed(frames.transpose(0, 1)[None])))
        maps = x[0].permute(0, 3, 1, 2).repeat_interleave(_PATCH[0], dim=0)
        return (maps[: frames.shape[0]].contiguous(),)


def _relative_index(window: Size) -> Tensor:
    """Row of the bias table for every pair of tokens of a window."""
    axes = torch.meshgrid(*(torch.arange(w) for w in window), indexing="ij")
    at = torch.stack([a.flatten() for a in axes], dim=1)
    apart = at[:, None] - at[None] + torch.tensor(window) - 1
    return (apart[..., 0] * (2 * window[1] - 1) + apart[..., 1]) * (2 * window[2] - 1) + apart[..., 2]


def _split(x: Tensor, window: Sequence[int]) -> Tensor:
    """``(B, T, H, W, C)`` to ``(B, windows, tokens, C)``."""
    batch, t, h, w, width = x.shape
    a, b, c = window
    x = x.reshape(batch, t // a, a, h // b, b, w // c, c, width).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, -1, a * b * c, width)


def _join(x: Tensor, size: Sequence[int], window: Sequence[int]) -> Tensor:
    (t, h, w), (a, b, c) = size, window
    x = x.reshape(x.shape[0], t // a, h // b, w // c, a, b, c, x.shape[3]).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(x.shape[0], t, h, w, -1)


def _mask(size: Sequence[int], window: Sequence[int], shift: Sequence[int], device: torch.device) -> Tensor:
    """Keep tokens apart that only the cyclic shift made neighbours: ``(windows, tokens, tokens)``."""
    region = torch.zeros(1, *size, 1, device=device)
    cuts = [
        ((0, -w), (-w, -s if s else None), (-s if s else None, None))
        for w, s in zip(window, shift, strict=True)
    ]
    for i, (t, h, w) in enumerate(product(*cuts)):
        region[:, slice(*t), slice(*h), slice(*w)] = i
    flat = _split(region, window)[0, :, :, 0]
    return torch.where(flat[:, :, None] == flat[:, None, :], 0.0, -100.0)


def swin3d_t(*, classes: int | None = None) -> SwinVideo:
    """Swin-T on video: a map of 768 channels, 1536 pooled; a motion branch."""
    return SwinVideo(classes=classes)


__all__ = ["SwinVideo", "swin3d_t"]
