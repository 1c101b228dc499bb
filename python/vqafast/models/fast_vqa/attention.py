"""Attention inside windows with gated relative position bias, in two forms of one expression.

Windows are many, biases few: a bias is ``base + gate * slope + mask``, where base and slope come from the
block's tables and gate and mask from the window's place. On the CPU, `windows.groups` sorts windows by
place and one group's bias exists at a time, small enough for the cache. In a trace, where a loop would
become a graph of thousands of nodes, and on other devices, where it would be launches, `windows.grid`
takes all windows at once, and there is one bias per place of space.

A training step keeps no attention weights: the backward pass computes a group's again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from ..tracing import is_tracing
from . import windows

if TYPE_CHECKING:
    from .config import Size, SwinConfig
    from .windows import Cut, Grid, Group, Groups

# Tokens of windows taken through the projections at a time: their activations stay in a core's cache.
_CHUNK = 2048
# Bytes of attention weights that the backward pass computes at a time.
_BACKWARD_BYTES = 16 << 20


class WindowAttention(nn.Module):
    """Multi-head attention between the tokens of a window.

    Parameters
    ----------
    config : SwinConfig
    width, heads : int
        Of this stage.
    gated : bool
        Pairs of tokens of one fragment have their own table.
    """

    relative_position_index: Tensor

    def __init__(self, config: SwinConfig, width: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, config.window
        rows = 1
        for w in config.window:
            rows *= 2 * w - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, heads))
        self.fragment_position_bias_table: nn.Parameter | None = None
        if gated:
            self.fragment_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        self.register_buffer("relative_position_index", relative_index(config.window))
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self._kept: tuple[Any, ...] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # What is kept can be made again; copies and pickles go without.
        return {**self.__dict__, "_kept": None}

    def forward(
        self,
        x: Tensor,
        size: Size,
        window: Size,
        shift: Size,
        fragments: tuple[int, int] | None,
        adaptive: bool,
    ) -> Tensor:
        """Attend within windows.

        Parameters
        ----------
        x : Tensor
            ``(B, T * H * W, C)``, normalised.
        size : Size
            T, H, W.
        window, shift : Size
            In use.
        fragments : tuple of int or None
            Grid of fragments; None without fragment biases.
        adaptive : bool
            The window is a corner of the full one; else it is the full one, or that clipped.

        Returns
        -------
        Tensor
            As x.
        """
        if x.device.type != "cpu" or is_tracing():
            plan = windows.grid(size, window, shift, fragments, x.device)
            return self._at_once(x, plan, *self._bias(window, adaptive))
        plan_ = windows.groups(size, window, shift, fragments, x.device)
        if torch.is_grad_enabled():
            return self._with_gradients(x, plan_, *self._bias(window, adaptive))
        return self._in_turn(x, plan_, *self._bias_kept(window, adaptive))

    def _bias(self, window: Size, adaptive: bool) -> tuple[Tensor, Tensor | None]:
        """Bias within a fragment, and what each fragment between two tokens adds: ``(heads, N, N)``."""
        rows = self._rows(window, adaptive)
        n = rows.shape[0]
        outside = self.relative_position_bias_table.t()[:, rows.reshape(-1)].reshape(-1, n, n)
        if self.fragment_position_bias_table is None:
            return outside, None
        inside = self.fragment_position_bias_table.t()[:, rows.reshape(-1)].reshape(-1, n, n)
        return inside, outside - inside

    def _bias_kept(self, window: Size, adaptive: bool) -> tuple[Tensor, Tensor | None]:
        """`_bias`, kept for the next call with the same window, type and tables."""
        relative = self.relative_position_bias_table
        tables = [relative, self.fragment_position_bias_table]
        key = (window, adaptive, relative.dtype)
        kept = self._kept
        # Values are compared: a table can change without its version counter (`p.data`).
        if kept is None or kept[0] != key or not all(map(_same, kept[1], tables)):
            values = [None if t is None else t.detach().clone() for t in tables]
            kept = self._kept = (key, values, self._bias(window, adaptive))
        bias: tuple[Tensor, Tensor | None] = kept[2]
        return bias

    def _rows(self, window: Size, adaptive: bool) -> Tensor:
        """Row of the tables for every pair of tokens: ``(N, N)``.

        A clipped window takes the first N tokens of the full one in scan order, whatever their places;
        that is right only where time alone is clipped, and it is what the weights were trained with.
        """
        a, b, c = window
        n = a * b * c
        index = self.relative_position_index
        if not adaptive:
            return index[:n, :n]
        full = self.window
        return index.reshape(*full, *full)[:a, :b, :c, :a, :b, :c].reshape(n, n)

    def _in_turn(self, x: Tensor, plan: Groups, base: Tensor, slope: Tensor | None) -> Tensor:
        """Without gradients: a few groups at a time, from the gathered tokens to the projection."""
        batch, cut = x.shape[0], plan.cut
        rows, order = _source(x, cut)
        out = x.new_empty(cut.count * batch * cut.tokens, x.shape[2])
        bias = torch.empty_like(base)
        for part in _chunks(plan.groups, _CHUNK // (cut.tokens * batch)):
            first, last = part[0].start * batch, part[-1].stop * batch
            span = slice(first * cut.tokens, last * cut.tokens)
            qkv = self._split(self.qkv(rows.index_select(0, order[span])), cut.tokens)
            z = _attend(qkv, part, batch, base, slope, bias)
            out[span] = self.proj(z.flatten(2).flatten(0, 1))
        return out.index_select(0, _places(cut, batch)).reshape(x.shape)

    def _with_gradients(self, x: Tensor, plan: Groups, base: Tensor, slope: Tensor | None) -> Tensor:
        batch, cut = x.shape[0], plan.cut
        rows, order = _source(x, cut)
        qkv = self._split(self.qkv(rows.index_select(0, order)), cut.tokens)
        z: Tensor = _Attention.apply(qkv, base, slope, plan.groups, batch)  # type: ignore[no-untyped-call]
        out: Tensor = self.proj(z.flatten(2).flatten(0, 1))
        return out.index_select(0, _places(cut, batch)).reshape(x.shape)

    def _at_once(self, x: Tensor, plan: Grid, base: Tensor, slope: Tensor | None) -> Tensor:
        cut, heads = plan.cut, self.heads
        if cut.padded:
            x = F.pad(x, (0, 0, 0, 1))
        # (B, times * S * N, C) to 3 of (B * times, S * heads, N, C / heads)
        qkv = self.qkv(x.index_select(1, cut.order))
        spaces = cut.count // plan.times
        qkv = qkv.reshape(-1, spaces, cut.tokens, 3, heads, qkv.shape[2] // (3 * heads))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)
        bias = base[None]
        if is_tracing():
            plan = plan.with_zero(self.relative_position_bias_table[0, 0] * 0)
        gate, mask, time_mask = plan.gate(), plan.mask(), plan.time_mask()
        if gate is not None and slope is not None:
            bias = bias + gate[:, None].to(base.dtype) * slope
        if mask is not None:
            bias = bias + mask[:, None].to(base.dtype)
        bias = bias.expand(spaces, -1, -1, -1).flatten(0, 1)[None]
        if time_mask is not None:
            bias = bias + time_mask[:, None].to(base.dtype)
            q, k, v = (t.unflatten(0, (-1, plan.times)) for t in (q, k, v))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        z = z.reshape(-1, spaces, heads, cut.tokens, z.shape[-1]).transpose(2, 3)
        out: Tensor = self.proj(z.reshape(-1, cut.count * cut.tokens, heads * z.shape[-1]))
        return out.index_select(1, cut.back)

    def _split(self, qkv: Tensor, tokens: int) -> Tensor:
        """``(windows * N, 3 * C)`` to ``(windows, N, 3, heads, C / heads)``."""
        return qkv.reshape(-1, tokens, 3, self.heads, qkv.shape[1] // (3 * self.heads))


class _Attention(torch.autograd.Function):
    """Attention of groups of windows that keeps q, k, v and the result, and no attention weights."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, base: Tensor, slope: Tensor | None, groups: tuple[Group, ...], batch: int
    ) -> Tensor:
        out = _attend(qkv, groups, batch, base, slope, torch.empty_like(base))
        ctx.save_for_backward(qkv, base, slope, out)
        ctx.groups, ctx.batch = groups, batch
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, base, slope, out = ctx.saved_tensors
        d_qkv, d_base = torch.empty_like(qkv), torch.zeros_like(base)
        d_slope = None if slope is None else torch.zeros_like(slope)
        scale = qkv.shape[4] ** -0.5
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        d_q, d_k, d_v = d_qkv.permute(2, 0, 3, 1, 4).unbind(0)
        # (windows, N, heads, C / heads) to (windows, heads, N, ...); rows of weights times their gradient
        inner = (grad * out).sum(3).transpose(1, 2)[..., None]
        grad = grad.transpose(1, 2)
        step = max(1, _BACKWARD_BYTES // (base.numel() * base.element_size()))
        bias = torch.empty_like(base)
        for group in ctx.groups:
            here = _group_bias(group, base, slope, bias)
            d_bias = torch.zeros_like(base)
            for first in range(group.start * ctx.batch, group.stop * ctx.batch, step):
                at = slice(first, min(first + step, group.stop * ctx.batch))
                weights = torch.softmax((q[at] * scale) @ k[at].transpose(2, 3) + here, dim=3)
                d_v[at] = weights.transpose(2, 3) @ grad[at]
                d_logits = (grad[at] @ v[at].transpose(2, 3)).sub_(inner[at]).mul_(weights)
                d_q[at] = d_logits @ k[at] * scale
                d_k[at] = d_logits.transpose(2, 3) @ q[at] * scale
                d_bias += d_logits.sum(0)
            d_base += d_bias
            if d_slope is not None and group.gate is not None:
                d_slope.addcmul_(d_bias, group.gate.to(d_bias.dtype))
        return d_qkv, d_base, d_slope, None, None


def _attend(
    qkv: Tensor,
    groups: tuple[Group, ...] | list[Group],
    batch: int,
    base: Tensor,
    slope: Tensor | None,
    bias: Tensor,
) -> Tensor:
    """Attention of consecutive groups, whose windows are all of `qkv`; `bias` is written to.

    ``(windows * batch, N, 3, heads, C / heads)`` to ``(windows * batch, N, heads, C / heads)``.
    """
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    out = qkv.new_empty(qkv.shape[0], qkv.shape[1], *qkv.shape[3:])
    for group in groups:
        at = slice((group.start - groups[0].start) * batch, (group.stop - groups[0].start) * batch)
        here = _group_bias(group, base, slope, bias)[None]
        out[at] = F.scaled_dot_product_attention(q[at], k[at], v[at], attn_mask=here).transpose(1, 2)
    return out


def _group_bias(group: Group, base: Tensor, slope: Tensor | None, out: Tensor) -> Tensor:
    """``(heads, N, N)``, in `out` unless it is `base` itself."""
    bias = base
    if group.gate is not None and slope is not None:
        bias = torch.addcmul(base, slope, group.gate.to(base.dtype), out=out)
    if group.mask is not None:
        bias = torch.add(bias, group.mask.to(base.dtype), out=out)
    return bias


def _chunks(groups: tuple[Group, ...], limit: int) -> list[list[Group]]:
    """Runs of groups of at most `limit` windows each, or of one group."""
    runs: list[list[Group]] = []
    for group in groups:
        if runs and group.stop - runs[-1][0].start <= limit:
            runs[-1].append(group)
        else:
            runs.append([group])
    return runs


def _source(x: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Rows ``(B * T * H * W, C)``, with one of zeros if there is padding, and the rows of every window.

    Windows come first, videos second: a group's windows are neighbours for the whole batch.
    """
    batch, length, width = x.shape
    rows = x.reshape(-1, width)
    if cut.padded:
        rows = torch.cat([rows, rows.new_zeros(1, width)])
    if batch == 1:
        return rows, cut.order
    order = cut.order.reshape(cut.count, 1, cut.tokens)
    first = torch.arange(batch, device=x.device)[None, :, None] * length
    return rows, torch.where(order == length, batch * length, order + first).reshape(-1)


def _places(cut: Cut, batch: int) -> Tensor:
    """Row of every token of the maps in what `_source` gathered: ``(B * T * H * W,)``."""
    if batch == 1:
        return cut.back
    window, token = cut.back // cut.tokens, cut.back % cut.tokens
    videos = torch.arange(batch, device=cut.back.device)[:, None]
    return ((window * batch + videos) * cut.tokens + token).reshape(-1)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.device == b.device and torch.equal(a, b)


def relative_index(window: Size) -> Tensor:
    """Row of the bias tables for every pair of tokens of a full window: ``(N, N)`` int64."""
    axes = torch.meshgrid(*(torch.arange(w) for w in window), indexing="ij")
    at = torch.stack([a.flatten() for a in axes], dim=1)
    apart = at[:, None] - at[None] + torch.tensor(window) - 1
    return (apart[..., 0] * (2 * window[1] - 1) + apart[..., 1]) * (2 * window[2] - 1) + apart[..., 2]
