"""A2INet as torch modules: the head of the papers (CAGI, CATM, temporal network, pooling)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from .functional import cgin, hysteresis_pool, keep, moments, root, step_mask

if TYPE_CHECKING:
    from .config import HeadConfig


def _activation(name: str) -> nn.Module:
    return nn.ReLU() if name == "relu" else nn.Identity()


def _asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine in operators that every ONNX opset has."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1.0))


class Align(nn.Module):
    """FC layers before CGIN: both features to D, and the affine parameters from the other one."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        d = config.dim
        self.quality = nn.Linear(config.quality_dim, d)
        self.semantic = nn.Linear(config.semantic_dim, d)
        self.activation = _activation(config.fc_activation)
        self.guided = config.mode != "adain"
        if self.guided:
            self.gamma_x, self.theta_x = nn.Linear(d, d), nn.Linear(d, d)
            shared = config.guide_shared
            self.gamma_y = self.gamma_x if shared else nn.Linear(d, d)
            self.theta_y = self.theta_x if shared else nn.Linear(d, d)

    def forward(self, quality: Tensor, semantic: Tensor) -> tuple[Tensor, ...]:
        """Return x, y and, unless AdaIN, gamma_x, theta_x, gamma_y, theta_y: each ``(B, T, D)``.

        gamma_x and theta_x modulate the normalised x and are computed from y (eq. 3).
        """
        x = self.activation(self.quality(quality))
        y = self.activation(self.semantic(semantic))
        if not self.guided:
            return x, y
        return x, y, self.gamma_x(y), self.theta_x(y), self.gamma_y(x), self.theta_y(x)


class GlobalSelfAttention(nn.Module):
    """One-head attention over T with a residual link (eq. 5)."""

    def __init__(self, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.scale = 1 / math.sqrt(width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``(B, T, 2D)`` to ``(B, T, 2D)``."""
        logits = self.query(x) @ self.key(x).transpose(1, 2) * self.scale
        mask = step_mask(lengths, x.shape[1])
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, :], -torch.inf)
        out: Tensor = torch.softmax(logits, dim=2) @ keep(self.value(x), mask) + x
        return out


class _Gate(nn.Sequential):
    """FC, ReLU, FC, Sigmoid."""

    def __init__(self, width: int, reduction: int) -> None:
        inner = max(1, width // reduction)
        super().__init__(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width), nn.Sigmoid())


class CATM(nn.Module):
    """Cross-aware temporal modelling: quality saliency (max) and content variation (std)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        d = config.dim
        self.correction = config.std_correction
        self.gate_max = _Gate(d, config.gate_reduction)
        self.gate_std = self.gate_max if config.gate_shared else _Gate(d, config.gate_reduction)

        def conv() -> nn.Conv1d:
            k = config.conv_kernel
            return nn.Conv1d(d, d, k, padding=k // 2, groups=config.conv_groups)

        self.conv_max = conv()
        self.conv_std = self.conv_max if config.conv_shared else conv()

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T, 2D)``: F_qt, then F_st."""
        mask = step_mask(lengths, x.shape[1])
        peak = keep(x, mask, -torch.inf).amax(dim=1, keepdim=True)
        deviation = root(moments(x, lengths, correction=self.correction)[1])
        # Padding must look like the zeros that the convolution puts around a sequence.
        sequence = keep(x, mask).transpose(1, 2)
        saliency = self.conv_max(sequence)
        variation = saliency if self.conv_std is self.conv_max else self.conv_std(sequence)
        return torch.cat(
            [
                saliency.transpose(1, 2) * self.gate_max(peak),
                variation.transpose(1, 2) * self.gate_std(deviation),
            ],
            dim=2,
        )


class TemporalHead(nn.Module):
    """FC to 128, GRU to 32, FC to one score per frame (supplement, eq. 1)."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, config.reduced_dim)
        self.activation = _activation(config.fc_activation)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(
            config.reduced_dim,
            config.gru_dim,
            num_layers=config.gru_layers,
            batch_first=True,
            bidirectional=config.gru_bidirectional,
        )
        directions = 2 if config.gru_bidirectional else 1
        self.regress = nn.Linear(config.gru_dim * directions, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``(B, T, width)`` to ``(B, T)``."""
        z = self.dropout(self.activation(self.reduce(x)))
        if lengths is not None and self.gru.bidirectional:
            # Only the backward pass sees padding before real steps.
            packed = nn.utils.rnn.pack_padded_sequence(
                z, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            h = nn.utils.rnn.pad_packed_sequence(
                self.gru(packed)[0], batch_first=True, total_length=x.shape[1]
            )[0]
        else:
            h = self.gru(keep(z, step_mask(lengths, x.shape[1])))[0]
        out: Tensor = self.regress(h).squeeze(2)
        return out


class Temporal(nn.Module):
    """Everything between CGIN and the frame scores: attention, FC, CATM, temporal network."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.used = None if config.features == "both" else config.used
        width = config.used.stop - config.used.start
        self.attention: GlobalSelfAttention | None = None
        self.mlp: nn.Sequential | None = None
        self.reduce: nn.Linear | None = None
        self.catm: CATM | None = None
        if config.interaction == "cagi" and config.attention:
            self.attention = GlobalSelfAttention(width, bias=config.attention_bias)
        if config.interaction == "concat_mlp":
            hidden = config.mlp_dim or 2 * config.dim
            self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.mlp_dropout))
            width = hidden
        if config.catm:
            self.reduce = nn.Linear(width, config.dim)
            self.activation = _activation(config.fc_activation)
            self.catm = CATM(config)
            width = 2 * config.dim
        self.head = TemporalHead(width, config)

    def forward(self, fused: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``(B, T, fused_dim)`` to frame scores ``(B, T)``."""
        x = fused if self.used is None else fused[:, :, self.used]
        if self.attention is not None:
            x = self.attention(x, lengths)
        if self.mlp is not None:
            x = self.mlp(x)
        if self.reduce is not None and self.catm is not None:
            x = self.catm(self.activation(self.reduce(x)), lengths)
        out: Tensor = self.head(x, lengths)
        return out


class A2INetHead(nn.Module):
    """Features to frame scores and the video score.

    The buffers ``quality_mean``, ``quality_std``, ``semantic_mean``, ``semantic_std`` exist with
    ``config.standardise`` only, ``quality_scale`` and ``semantic_scale`` with ``config.compress``.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        for name, dim in (("quality", config.quality_dim), ("semantic", config.semantic_dim)):
            if config.compress:
                self.register_buffer(f"{name}_scale", torch.ones(dim))
            if config.standardise:
                self.register_buffer(f"{name}_mean", torch.zeros(dim))
                self.register_buffer(f"{name}_std", torch.ones(dim))
        self.align = Align(config) if config.interaction == "cagi" else None
        self.temporal = Temporal(config)

    def fit_constants(self, quality: Tensor, semantic: Tensor) -> None:
        """Set the constants of `standardise` from the training set's features ``(n, C)``.

        A compression scale is the 5th percentile of the magnitude: below it asinh is linear.
        """
        for name, features in (("quality", quality), ("semantic", semantic)):
            x = features
            if self.config.compress:
                scale = torch.quantile(x.abs(), 0.05, dim=0)
                self.get_buffer(f"{name}_scale").copy_(scale + 1e-4)
                x = _asinh(x / self.get_buffer(f"{name}_scale"))
            if self.config.standardise:
                self.get_buffer(f"{name}_mean").copy_(x.mean(dim=0))
                self.get_buffer(f"{name}_std").copy_(x.std(dim=0) + 1e-3)

    def standardise(self, quality: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        """Compress and standardise with the training set's constants, as far as the config says so."""
        return self._standardised("quality", quality), self._standardised("semantic", semantic)

    def _standardised(self, name: str, x: Tensor) -> Tensor:
        if self.config.compress:
            x = _asinh(x / self.get_buffer(f"{name}_scale"))
        if self.config.standardise:
            x = (x - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_std")
        return x

    def frame_scores(self, quality: Tensor, semantic: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frame scores ``(B, T)`` of one window each."""
        mask = step_mask(lengths, quality.shape[1])
        quality, semantic = self.standardise(keep(quality, mask), keep(semantic, mask))
        if self.align is None:
            fused = torch.cat([quality, semantic], dim=2)
        else:
            x, y, *affine = self.align(quality, semantic)
            gamma_x, theta_x, gamma_y, theta_y = affine or (None,) * 4
            c = self.config
            fused = cgin(
                x, y, gamma_x, theta_x, gamma_y, theta_y,
                lengths=lengths, mode=c.mode, direction=c.direction, eps=c.eps,
            )  # fmt: skip
        return keep(self.temporal(fused, lengths), mask)

    def forward(
        self,
        quality: Tensor,
        semantic: Tensor,
        lengths: Tensor | None = None,
        window: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score a batch of videos.

        Parameters
        ----------
        quality : Tensor
            ``(B, T, quality_dim)``.
        semantic : Tensor
            ``(B, T, semantic_dim)``.
        lengths : Tensor, optional
            ``(B,)`` int, 1..T: real steps of each video.
        window : int, optional
            Steps that see each other; the last window may be shorter. Default: all T. Pooling
            always runs over the whole video.

        Returns
        -------
        score : Tensor
            ``(B,)``.
        frame_scores : Tensor
            ``(B, T)`` raw scores, 0 at padding.
        """
        steps = quality.shape[1]
        if quality.ndim != 3 or semantic.shape[:2] != quality.shape[:2] or steps < 1:
            raise InvalidArgument(
                "A2INetHead: quality and semantic must be (B, T, C) with the same B and T >= 1, "
                f"got {tuple(quality.shape)}, {tuple(semantic.shape)}"
            )
        if lengths is not None and (lengths.min() < 1 or lengths.max() > steps):
            raise InvalidArgument(f"A2INetHead: lengths must be in 1..{steps}, got {lengths}")
        mask = step_mask(lengths, steps)
        quality, semantic = keep(quality, mask), keep(semantic, mask)
        size = window or steps
        parts = []
        for start in range(0, steps, size):
            stop = min(start + size, steps)
            # A video that ended before this window keeps one dummy step, masked out below.
            inside = None if lengths is None else (lengths - start).clamp(1, stop - start)
            parts.append(self.frame_scores(quality[:, start:stop], semantic[:, start:stop], inside))
        q = keep(torch.cat(parts, dim=1), mask)
        score, _ = hysteresis_pool(q, lengths, alpha=self.config.alpha, beta=self.config.beta)
        return score, q
