"""Video Swin Transformer with gated relative position bias (GRPB): the backbone of FAST-VQA.

Names and shapes of parameters and buffers are those of the authors' `SwinTransformer3D` (sources: see
`config`). Their numbers, peculiarities included:

| what | how |
|--|--|
| gate of a pair | rows plus columns of fragments between its tokens, 0, 1, 2, ...: not clipped to 1, so the bias is extrapolated along (relative - fragment) |
| fragments | a grid of as many as the window in use has tokens (1 in time; `SwinConfig.fragments` fixes it), stretched over the padded map by nearest neighbours in float32, then rolled as the map is |
| blocks with a gate | every block of the stages of `fragment_bias`; the others add the relative bias alone |
| sign of the gate | same fragment: fragment table; else: relative table, once for each step |
| padding | after the norm, with zeros, at the end of each axis; padded tokens are not masked, so others attend to a key of the projection's bias |
| window larger than its axis | is clipped to it, and that axis is not shifted |
| rows of the tables, clipped window | those of the full window's first N tokens in scan order: right for time, wrong for space (`WindowAttention._rows`) |
| adaptive window | floor(window * size / base size), pixels for pixels; rows of the tables are then right |
| shift | half the full window, whatever the window in use: with half the frames it is a whole window |
| mask | -100, and computed by Python's slices with the shift, of one sort for the whole batch |
| patch embedding | zeros at the end of each axis up to whole tokens; norm after it |
| merging | rows, then columns: (0, 0), (1, 0), (0, 1), (1, 1); odd sides get a zero row or column before the norm |
| stochastic depth | per sample, both branches, rates linear over all blocks from 0; no other dropout |
| last norm | after the last stage only |
"""  # noqa: E501 - a table

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation
from torch.utils.checkpoint import checkpoint

from vqafast.errors import InvalidArgument

from ..tracing import fixed, is_tracing
from .attention import WindowAttention
from .windows import adaptive_window, clip_window

if TYPE_CHECKING:
    from .config import Size, SwinConfig

# Tokens taken through an MLP at a time: the hidden layer stays in a core's cache.
_CHUNK = 2048


class DropPath(nn.Module):
    """Stochastic depth: whole samples of a residual branch are dropped, the others scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, ...)`` to the same shape."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)


class Mlp(nn.Module):
    """FC, GELU, FC."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., C)`` to the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention inside windows and MLP, each after a norm and with a residual link.

    Parameters
    ----------
    config : SwinConfig
    stage : int
    shifted : bool
        Windows lie half a window further.
    drop_path : float
    """

    def __init__(self, config: SwinConfig, stage: int, shifted: bool, drop_path: float) -> None:
        super().__init__()
        width = config.widths[stage]
        self.gated, self.fragments = config.fragment_bias[stage], config.fragments
        self.window, self.recompute = config.window, config.recompute
        a, b, c = (w // 2 if shifted else 0 for w in config.window)
        self.shift: Size = (a, b, c)
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(config, width, config.heads[stage], self.gated)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, config.mlp_ratio * width)

    def forward(self, x: Tensor, size: Size, window: Size | None = None) -> Tensor:
        """Map ``(B, T * H * W, C)``, `size` being (T, H, W), to the same shape.

        `window` is the adaptive one, if that is in use.
        """
        if not self.training and not torch.is_grad_enabled():
            return self._add_mlp(x + self._attention(x, size, window))
        if self.recompute and self.training:
            x = x + self.drop_path(checkpoint(self._attention, x, size, window, use_reentrant=False))
            branch: Tensor = self.drop_path(checkpoint(self._mlp, x, use_reentrant=False))
            return x + branch
        x = x + self.drop_path(self._attention(x, size, window))
        branch = self.drop_path(self._mlp(x))
        return x + branch

    def _attention(self, x: Tensor, size: Size, window: Size | None) -> Tensor:
        used, shift = clip_window(size, window or self.window, self.shift)
        fragments = (self.fragments or used[1:]) if self.gated else None
        out: Tensor = self.attn(self.norm1(x), size, used, shift, fragments, window is not None)
        return out

    def _mlp(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp(self.norm2(x))
        return out

    def _add_mlp(self, x: Tensor) -> Tensor:
        """Add the MLP's branch to x, in place where that is faster."""
        if x.device.type != "cpu" or is_tracing():
            return x + self._mlp(x)
        # A copy where x is a transposed view.
        rows = x.flatten(0, 1)
        for part in torch.split(rows, _CHUNK):
            part.add_(self._mlp(part))
        return rows.view(x.shape)


class PatchMerging(nn.Module):
    """Four neighbours in space become one token of twice the width; time stays."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Map ``(B, T * H * W, C)`` and (T, H, W) to ``(B, T * H/2 * W/2, 2C)`` and the new size."""
        t, h, w = size
        width = x.shape[2]
        if h % 2 or w % 2:
            x = F.pad(x.reshape(-1, t, h, w, width), (0, 0, 0, w % 2, 0, h % 2))
            h, w = h + h % 2, w + w % 2
        # (B * T * H/2, row, W/2, column, C): columns first, as the authors concatenate
        x = x.reshape(-1, 2, w // 2, 2, width).permute(0, 2, 3, 1, 4)
        x = x.reshape(-1, t * (h // 2) * (w // 2), 4 * width)
        out: Tensor = self.reduction(self.norm(x))
        return out, (t, h // 2, w // 2)


class Stage(nn.Module):
    """Blocks of one width, and the merging after them (not after the last stage).

    Parameters
    ----------
    config : SwinConfig
    stage : int
    """

    def __init__(self, config: SwinConfig, stage: int) -> None:
        super().__init__()
        before, depth = sum(config.depths[:stage]), config.depths[stage]
        last = max(1, sum(config.depths) - 1)
        rates = [config.drop_path * i / last for i in range(before, before + depth)]
        self.blocks = nn.ModuleList(Block(config, stage, i % 2 == 1, r) for i, r in enumerate(rates))
        final = stage == len(config.depths) - 1
        self.downsample = None if final else PatchMerging(config.widths[stage])

    def forward(self, x: Tensor, size: Size, window: Size | None = None) -> tuple[Tensor, Size]:
        """Map ``(B, T * H * W, C)`` and (T, H, W) to the next stage's."""
        for block in self.blocks:
            x = block(x, size, window)
        if self.downsample is None:
            return x, size
        out: tuple[Tensor, Size] = self.downsample(x, size)
        return out


class PatchEmbed(nn.Module):
    """Every 2 x 4 x 4 pixels become a token."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.proj = nn.Conv3d(config.channels, config.width, config.patch, config.patch)
        self.norm = nn.LayerNorm(config.width) if config.patch_norm else None

    def forward(self, clips: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Map ``(B, 3, T, H, W)``, `size` being (T, H, W), to tokens ``(B, T/2 * H/4 * W/4, C)`` and size."""
        pad = [-s % p for s, p in zip(size, self.patch, strict=True)]
        if any(pad):
            clips = F.pad(clips, (0, pad[2], 0, pad[1], 0, pad[0]))
        x = self.proj(clips).flatten(2).transpose(1, 2)
        a, b, c = (-(-s // p) for s, p in zip(size, self.patch, strict=True))
        return x if self.norm is None else self.norm(x), (a, b, c)


class SwinTransformer3D(nn.Module):
    """The backbone.

    Parameters
    ----------
    config : SwinConfig
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.ModuleList(Stage(config, i) for i in range(len(config.depths)))
        self.norm = nn.LayerNorm(config.widths[-1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def window(self, size: Size) -> Size | None:
        """Return the adaptive window for clips of `size` pixels (T, H, W); None without adaptive windows."""
        c = self.config
        return adaptive_window(c.window, size, c.base_size) if c.adaptive else None

    def forward(self, clips: Tensor) -> Tensor:
        """Compute the last stage's features.

        Parameters
        ----------
        clips : Tensor
            ``(B, 3, T, H, W)``, normalised.

        Returns
        -------
        Tensor
            ``(B, T/2, H/32, W/32, 768)``, each side rounded up.
        """
        if clips.ndim != 5 or clips.shape[1] != self.config.channels:
            raise InvalidArgument(
                f"SwinTransformer3D: clips must be (B, {self.config.channels}, T, H, W), "
                f"got {tuple(clips.shape)}"
            )
        pixels = _size(clips)
        window = self.window(pixels)
        x, size = self.patch_embed(clips, pixels)
        for layer in self.layers:
            x, size = layer(x, size, window)
        out: Tensor = self.norm(x).reshape(-1, *size, x.shape[2])
        return out


def _size(clips: Tensor) -> Size:
    t, h, w = fixed(clips.shape[2:])
    return t, h, w
