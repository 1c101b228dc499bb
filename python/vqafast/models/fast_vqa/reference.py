"""The authors' algorithm written out: every window's bias in full, in every block. Slow on purpose.

It reads a state dict under the authors' names (without the backbone's or head's prefix) and computes in
the precision of its tensors. Nothing here is shared with the fast modules. Names of the steps:
`window_of` is the authors' get_window_size, `fragment_offsets` their global_position_index,
`separation` their compute_mask, `pair_rows` their use of relative_position_index.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import Size, SwinConfig

    State = Mapping[str, Tensor]


def features(state: State, config: SwinConfig, clips: Tensor) -> Tensor:
    """Map clips ``(B, C, T, H, W)`` to the last stage's features ``(B, 768, T/2, H/32, W/32)``."""
    wanted = adaptive_window(config, clips.shape[2:]) if config.adaptive else None
    x = _embed(state, config, clips)
    for stage, depth in enumerate(config.depths):
        at = f"layers.{stage}"
        for i in range(depth):
            x = _block(state, f"{at}.blocks.{i}", config, x, stage, i % 2 == 1, wanted)
        if stage < len(config.depths) - 1:
            x = _merge(state, f"{at}.downsample", x)
    return _norm(state, "norm", x).permute(0, 4, 1, 2, 3)


def quality_map(state: State, x: Tensor) -> Tensor:
    """Map features ``(B, C, T, H, W)`` to local scores ``(B, 1, T, H, W)``, without dropout."""
    x = F.gelu(F.conv3d(x, state["fc_hid.weight"], state["fc_hid.bias"]))
    return F.conv3d(x, state["fc_last.weight"], state["fc_last.bias"])


def adaptive_window(config: SwinConfig, size: Sequence[int]) -> Size:
    """Window for an input of `size` pixels."""
    a, b, c = (w * s // base for w, s, base in zip(config.window, size, config.base_size, strict=True))
    return a, b, c


def window_of(size: Sequence[int], window: Size, shift: Size) -> tuple[Size, Size]:
    """Clip the window to the map; an axis that one window covers is not shifted."""
    pairs = [(s, 0) if s <= w else (w, d) for s, w, d in zip(size, window, shift, strict=True)]
    (a, i), (b, j), (c, k) = pairs
    return (a, b, c), (i, j, k)


@lru_cache
def fragment_offsets(padded: Size, grid: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    """How many fragments lie between the tokens of every pair, by axis: ``(windows, N, N, 3)`` int64."""
    at = torch.stack(torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")).float()
    at = F.interpolate(at[None].to(device), size=padded).long().permute(0, 2, 3, 4, 1)
    cells = partition(torch.roll(at, [-s for s in shift], (1, 2, 3)), window)
    return cells[:, None, :] - cells[:, :, None]


@lru_cache
def separation(padded: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    """-100 for pairs that only the cyclic shift made neighbours, else 0: ``(windows, N, N)``."""
    region = torch.zeros(1, *padded, 1, device=device)
    cuts = [
        (slice(-w), slice(-w, -s), slice(-s, None)) for w, s in zip(window, shift, strict=True)
    ]  # with s = 0 the last one is the whole axis, and overwrites the others
    for i, (t, h, w) in enumerate(product(*cuts)):
        region[:, t, h, w] = i
    cells = partition(region, window)[..., 0]
    return torch.where(cells[:, None, :] == cells[:, :, None], 0.0, -100.0)


def pair_rows(index: Tensor, full: Size, window: Size, adaptive: bool) -> Tensor:
    """Row of the bias tables for every pair of tokens ``(N, N)``.

    Where a window was only clipped, the first N rows and columns of the full window's index are taken.
    These are its tokens in scan order, which is the clipped window only if time alone was clipped.
    """
    a, b, c = window
    n = a * b * c
    if not adaptive:
        return index[:n, :n]
    return index.reshape(*full, *full)[:a, :b, :c, :a, :b, :c].reshape(n, n)


def partition(x: Tensor, window: Size) -> Tensor:
    """``(B, T, H, W, C)`` to ``(B * windows, tokens, C)``."""
    batch, t, h, w, width = x.shape
    a, b, c = window
    x = x.reshape(batch, t // a, a, h // b, b, w // c, c, width).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(-1, a * b * c, width)


def _block(
    state: State, at: str, config: SwinConfig, x: Tensor, stage: int, shifted: bool, wanted: Size | None
) -> Tensor:
    half = tuple(w // 2 if shifted else 0 for w in config.window)
    window, shift = window_of(x.shape[1:4], wanted or config.window, (half[0], half[1], half[2]))
    pad = [-s % w for s, w in zip(x.shape[1:4], window, strict=True)]
    y = F.pad(_norm(state, f"{at}.norm1", x), (0, 0, 0, pad[2], 0, pad[1], 0, pad[0]))
    batch, *sides, width = y.shape
    padded: Size = (sides[0], sides[1], sides[2])
    grid = config.fragments or window[1:]
    rows = pair_rows(
        state[f"{at}.attn.relative_position_index"], config.window, window, wanted is not None
    ).flatten()
    offsets = fragment_offsets(padded, (1, *grid), window, shift, x.device)
    mask = separation(padded, window, shift, x.device) if any(shift) else None

    y = partition(torch.roll(y, [-s for s in shift], (1, 2, 3)), window)
    y = _attend(state, f"{at}.attn", config.heads[stage], y, rows, offsets, mask)
    a, b, c = window
    y = y.reshape(batch, padded[0] // a, padded[1] // b, padded[2] // c, a, b, c, width)
    y = torch.roll(y.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, *padded, width), shift, (1, 2, 3))
    x = x + y[:, : x.shape[1], : x.shape[2], : x.shape[3]]
    y = F.gelu(_linear(state, f"{at}.mlp.fc1", _norm(state, f"{at}.norm2", x)))
    return x + _linear(state, f"{at}.mlp.fc2", y)


def _attend(
    state: State, at: str, heads: int, x: Tensor, rows: Tensor, offsets: Tensor, mask: Tensor | None
) -> Tensor:
    count, n, width = x.shape
    qkv = _linear(state, f"{at}.qkv", x).reshape(count, n, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0] * (width // heads) ** -0.5, qkv[1], qkv[2]
    logits = q @ k.transpose(-2, -1)
    bias = state[f"{at}.relative_position_bias_table"][rows].reshape(n, n, heads).permute(2, 0, 1)[None]
    name = f"{at}.fragment_position_bias_table"
    if name in state:
        inside = state[name][rows].reshape(n, n, heads).permute(2, 0, 1)
        gate = offsets.abs().sum(-1)[:, None]
        bias = bias * gate + inside * (1 - gate)
    windows = offsets.shape[0]
    logits = logits.reshape(count // windows, windows, heads, n, n) + bias
    if mask is not None:
        logits = logits + mask[:, None].to(logits.dtype)
    weights = torch.softmax(logits.reshape(count, heads, n, n), dim=-1)
    return _linear(state, f"{at}.proj", (weights @ v).transpose(1, 2).reshape(count, n, width))


def _embed(state: State, config: SwinConfig, x: Tensor) -> Tensor:
    pad = [-s % p for s, p in zip(x.shape[2:], config.patch, strict=True)]
    x = F.pad(x, (0, pad[2], 0, pad[1], 0, pad[0]))
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = F.conv3d(x, weight, bias, stride=config.patch).permute(0, 2, 3, 4, 1)
    return _norm(state, "patch_embed.norm", x) if config.patch_norm else x


def _merge(state: State, at: str, x: Tensor) -> Tensor:
    x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
    x = torch.cat([x[:, :, dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)], dim=4)
    return F.linear(_norm(state, f"{at}.norm", x), state[f"{at}.reduction.weight"])


def _norm(state: State, at: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{at}.weight"], state[f"{at}.bias"])


def _linear(state: State, at: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{at}.weight"], state.get(f"{at}.bias"))
