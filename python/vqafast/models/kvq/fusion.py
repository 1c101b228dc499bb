"""Fusion window blocks: attention inside windows and across the most correlated ones, then an FFN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from ..fast_vqa.swin3d import Block, PatchMerging
from ..fast_vqa.windows import clip_window, grid
from ..tracing import is_tracing

if TYPE_CHECKING:
    from ..fast_vqa.config import Size
    from .config import KvqConfig

_UNSHIFTED: Size = (0, 0, 0)
# Bytes of gathered keys and values at a time where no backward pass needs them.
_GATHERED_BYTES = 64 << 20


def most_correlated(correlations: Tensor, count: int) -> Tensor:
    """Choose the windows that each window attends to.

    Parameters
    ----------
    correlations : Tensor
        ``(B, M, M)``: of every window, by row, with every window.
    count : int
        At most M.

    Returns
    -------
    Tensor
        ``(B, M, count)`` int64, most correlated first; of equals the one with the lower index.
    """
    if is_tracing():
        # ONNX's TopK orders equals by index; torch's own does not say.
        return torch.topk(correlations, count, dim=2).indices
    return torch.sort(correlations, dim=2, descending=True, stable=True).indices[:, :, :count]


class CrossWindowAttention(nn.Module):
    """Attention (CWA) from each window to the tokens of the k windows most correlated with it.

    A window's correlation with another is the product of its mean query with the other's mean key, over all
    heads. Where there are at most k windows, every token attends to every token.

    Parameters
    ----------
    config : KvqConfig
    stage : int
    """

    def __init__(self, config: KvqConfig, stage: int) -> None:
        super().__init__()
        swin, width = config.swin, config.swin.widths[stage]
        self.heads, self.window = swin.heads[stage], swin.window
        self.correlated = config.correlated[stage - config.plain]
        self.qkv = nn.Linear(width, 3 * width, bias=swin.qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Attend across windows.

        Parameters
        ----------
        x : Tensor
            ``(B, T * H * W, C)``, normalised.
        size : Size
            T, H, W.

        Returns
        -------
        Tensor
            As x.
        """
        batch, length, width = (int(n) for n in x.shape)
        window, _ = clip_window(size, self.window, _UNSHIFTED)
        cut = grid(size, window, _UNSHIFTED, None, x.device).cut
        count, tokens = cut.count, cut.tokens
        qkv = self.qkv(x)
        if cut.padded:
            # After the projection: padding is zero in sums over a window, and masked elsewhere.
            qkv = F.pad(qkv, (0, 0, 0, 1))
        qkv = qkv.index_select(1, cut.order).reshape(batch * count, tokens, 3, width)
        real = (cut.order < length).reshape(count, tokens)
        if count <= self.correlated:
            q, kv = (t.reshape(batch, count * tokens, -1, width) for t in (qkv[:, :, :1], qkv[:, :, 1:]))
            mask = _mask(real.reshape(1, -1), x.dtype) if cut.padded else None
            z = self._attend(q, kv, mask)
        else:
            # Which windows are chosen is not differentiable.
            means = qkv.detach()[:, :, :2].sum(dim=1).reshape(batch, count, 2, width)
            means = means / real.sum(dim=1).to(means.dtype)[:, None, None]
            chosen = most_correlated(means[:, :, 0] @ means[:, :, 1].transpose(1, 2), self.correlated)
            mask = _mask(real, x.dtype) if cut.padded else None
            z = self._gathered(qkv, chosen, mask)
        out: Tensor = self.proj(z.reshape(batch, count * tokens, width))
        return out.index_select(1, cut.back)

    def _gathered(self, qkv: Tensor, chosen: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from windows ``(B * M, N, 3, C)`` to those of `chosen`; `mask` is ``(M, N)``."""
        batch, count, k = (int(n) for n in chosen.shape)
        rows = chosen
        if batch > 1:
            rows = chosen + count * torch.arange(batch, device=chosen.device)[:, None, None]
        rows, windows = rows.reshape(-1, k), chosen.reshape(-1, k)
        tokens, width = int(qkv.shape[1]), int(qkv.shape[3])
        step = batch * count
        if not is_tracing() and not torch.is_grad_enabled():
            one = k * tokens * 2 * width * qkv.element_size()
            step = min(step, max(1, _GATHERED_BYTES // one))
        parts = []
        for first in range(0, batch * count, step):
            at = slice(first, first + step)
            kv = qkv[:, :, 1:].index_select(0, rows[at].reshape(-1)).reshape(-1, k * tokens, 2, width)
            here = None
            if mask is not None:
                here = mask.index_select(0, windows[at].reshape(-1)).reshape(-1, k * tokens)
            parts.append(self._attend(qkv[at, :, :1], kv, here))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend(self, q: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from ``(R, N, 1, C)`` to ``(R, K, 2, C)`` under a mask of keys; ``(R, N, C)``."""
        rows, _, _, width = (int(n) for n in q.shape)
        q, k, v = (
            t.reshape(rows, -1, self.heads, width // self.heads).transpose(1, 2)
            for t in (q[:, :, 0], kv[:, :, 0], kv[:, :, 1])
        )
        bias = None if mask is None else mask[:, None, None]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def _mask(real: Tensor, dtype: torch.dtype) -> Tensor:
    """0 for tokens, minus infinity for padding."""
    return torch.zeros(real.shape, dtype=dtype, device=real.device).masked_fill(~real, float("-inf"))


class FusionWindowBlock(Block):
    """Swin's block, with fusion window attention (FWA) where that has attention inside windows alone.

    FWA is the sum of both parts' projections. What the part inside windows (IWA) and the FFN have is named as
    in `Block`, so that Swin's weights fit.

    Parameters
    ----------
    config : KvqConfig
    stage : int
    shifted : bool
        IWA's windows lie half a window further; CWA's never do.
    drop_path : float
    """

    def __init__(self, config: KvqConfig, stage: int, shifted: bool, drop_path: float) -> None:
        super().__init__(config.swin, stage, shifted, drop_path)
        self.inner = config.attention != "cross"
        if not self.inner:
            del self.attn
        self.cross = CrossWindowAttention(config, stage) if config.attention != "inner" else None

    def _attention(self, x: Tensor, size: Size, window: Size | None) -> Tensor:
        del window
        x = self.norm1(x)
        branches = []
        if self.inner:
            used, shift = clip_window(size, self.window, self.shift)
            branches.append(self.attn(x, size, used, shift, None, False))
        if self.cross is not None:
            branches.append(self.cross(x, size))
        out: Tensor = branches[0] if len(branches) == 1 else branches[0] + branches[1]
        return out


class Saliency(nn.Module):
    """Logits of saliency, one for each token: norm and FC."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 1)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Map ``(B, T * H * W, C)`` to ``(B, T, H, W)``."""
        out: Tensor = self.fc(self.norm(x))
        return out.reshape(-1, *size)


class FusionStage(nn.Module):
    """Fusion window blocks of one width, and the merging after them (not after the last stage).

    Parameters
    ----------
    config : KvqConfig
    stage : int
    """

    def __init__(self, config: KvqConfig, stage: int) -> None:
        super().__init__()
        swin = config.swin
        before, depth, width = sum(swin.depths[:stage]), swin.depths[stage], swin.widths[stage]
        last = max(1, sum(swin.depths) - 1)
        self.blocks = nn.ModuleList(
            FusionWindowBlock(config, stage, i % 2 == 1, swin.drop_path * (before + i) / last)
            for i in range(depth)
        )
        self.saliency = nn.ModuleList(Saliency(width) for _ in range(depth if config.multi_scale else 0))
        self.downsample = None if stage == len(swin.depths) - 1 else PatchMerging(width)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size, list[Tensor]]:
        """Map ``(B, T * H * W, C)`` and (T, H, W) to the next stage's.

        The third item has each block's logits ``(B, T, H, W)`` of saliency; none without multiple scales.
        """
        logits = []
        for i, block in enumerate(self.blocks):
            x = block(x, size)
            if self.saliency:
                logits.append(self.saliency[i](x, size))
        if self.downsample is not None:
            x, size = self.downsample(x, size)
        return x, size, logits
