"""The authors' algorithm written out: every candidate region, every frame and every head. Slow on purpose.

It reads a state dict under the authors' names and computes in the precision of its tensors. Of the fast
modules nothing is shared; Swin's blocks are those of FAST-VQA's own reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from ..fast_vqa import reference as swin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import KsvqeConfig

    State = Mapping[str, Tensor]


def part(state: State, prefix: str) -> dict[str, Tensor]:
    """Take what stands under ``prefix.``."""
    return {k.removeprefix(f"{prefix}."): v for k, v in state.items() if k.startswith(f"{prefix}.")}


def quality_map(
    state: State, config: KsvqeConfig, fragments: Tensor, frames: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute local scores ``(B, T/2, 7, 7)`` and embeddings ``(B, T/2, 49, 128)``.

    `fragments` and `frames` are those of `KSVQE`; `weights` are the candidates' for every key frame,
    ``(B * 4, R)``; None takes the best one.
    """
    body = part(state, "KSVQE_backbone")
    batch, keys = frames.shape[:2]
    similarity, patches = clip(part(body, "CLIP_tool"), config, frames.flatten(0, 1))
    scores = region_scores(config, similarity)
    x = selected(config, fragments, scores, weights)
    embeddings = distortion(body, config, x[:, :, ::2])
    group = groups(x.shape[2])
    tokens = patches.reshape(batch, keys, *patches.shape[1:])[:, group][:, ::2]
    x = swin._embed(body, config.swin, x)
    for i, depth in enumerate(config.swin.depths):
        for j in range(depth):
            x = swin._block(body, f"layers.{i}.blocks.{j}", config.swin, x, i, j % 2 == 1, None)
        if i < len(config.swin.depths) - 1:
            x = swin._merge(body, f"layers.{i}.downsample", x)
        at = i - config.tuning_stage
        if at >= 0:
            heads = config.swin.heads[min(i, len(config.swin.depths) - 2)]
            by_content = content_adaptive(body, at, x, tokens, heads)
            by_distortion = distortion_aware(body, at, x, embeddings, heads)
            x = (body["a1"][at] * by_distortion + body["a2"][at] * by_content) / 2
    features = swin._norm(body, "norm", x).permute(0, 4, 1, 2, 3)
    return swin.quality_map(part(state, "KSVQE_head"), features)[:, 0], embeddings


def groups(frames: int) -> list[int]:
    """Key frame of every frame, counted as the authors do."""
    found, group = [], 0
    for i in range(frames):
        if i in {frames // 4 - 1, frames // 2 - 1, 3 * frames // 4 - 1}:
            group += 1
        found.append(group)
    return found


def clip(state: State, config: KsvqeConfig, images: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines ``(N, P)`` and patches ``(N, P, W)``."""
    x = F.conv2d(images, state["visual.conv1.weight"], stride=config.clip.patch)
    x = x.reshape(len(x), x.shape[1], -1).permute(0, 2, 1)
    first = state["visual.class_embedding"].repeat(len(x), 1, 1)
    positions, old, new = state["visual.positional_embedding"], config.clip.grid, config.frames_grid
    if old != new:
        rest = positions[1:].T.reshape(1, -1, old, old)
        rest = F.interpolate(rest, size=(new, new), mode="bicubic", align_corners=False)
        positions = torch.cat([positions[:1], rest.flatten(2)[0].T])
    x = torch.cat([first, x], 1) + positions
    x = _norm(state, "visual.ln_pre", x)
    for i in range(config.clip.layers):
        at = f"visual.transformer.resblocks.{i}"
        y = _norm(state, f"{at}.ln_1", x)
        qkv = F.linear(y, state[f"{at}.attn.in_proj_weight"], state[f"{at}.attn.in_proj_bias"])
        q, k, v = qkv.chunk(3, 2)
        y = attend(q, k, v, config.clip.heads, (config.clip.width / config.clip.heads) ** 0.5)
        x = x + _linear(state, f"{at}.attn.out_proj", y)
        y = _linear(state, f"{at}.mlp.c_fc", _norm(state, f"{at}.ln_2", x))
        x = x + _linear(state, f"{at}.mlp.c_proj", y * torch.sigmoid(1.702 * y))
        if i >= config.adapter_start:
            adapted = _adapter(state, f"adapter_layer.{i - config.adapter_start}", x[:, :1])
            ratio = config.adapter_share
            x = torch.cat([ratio * adapted + (1 - ratio) * x[:, :1], x[:, 1:]], 1)
    return torch.cosine_similarity(x[:, :1], x[:, 1:], dim=-1), x[:, 1:]


def region_scores(config: KsvqeConfig, similarity: Tensor) -> Tensor:
    """Scores of the candidates in 0..1: ``(N, P)`` to ``(N, R)``."""
    side, grid = config.frames_grid, config.sampling.grid
    x = similarity.reshape(-1, 1, side, side)
    if side != grid:
        x = F.interpolate(x, scale_factor=(grid / side, grid / side), mode="nearest")
    x = F.unfold(x, config.region, stride=1).mean(1)
    low, high = x.min(-1, keepdim=True).values, x.max(-1, keepdim=True).values
    return (x - low) / (high - low + 1e-5)


def selected(config: KsvqeConfig, x: Tensor, scores: Tensor, weights: Tensor | None) -> Tensor:
    """``(B, 3, T, 9 * 32, 9 * 32)`` to ``(B, 3, T, 7 * 32, 7 * 32)``, all candidates side by side first."""
    batch, channels, frames = x.shape[:3]
    g, p, r = config.sampling.grid, config.sampling.patch, config.region
    x = x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, g, p, g, p).permute(0, 1, 3, 5, 2, 4)
    x = F.unfold(x.reshape(batch * frames, channels * p * p, g, g), r, stride=1)
    if weights is None:
        weights = F.one_hot(scores.topk(1, -1).indices[:, 0], scores.shape[1]).to(x.dtype)
    each = weights.reshape(batch, -1, weights.shape[1])[:, groups(frames)].reshape(batch * frames, -1, 1)
    x = torch.bmm(x, each).reshape(batch, frames, channels, p, p, r, r)
    return x.permute(0, 2, 1, 5, 3, 6, 4).reshape(batch, channels, frames, r * p, r * p)


def distortion(state: State, config: KsvqeConfig, x: Tensor) -> Tensor:
    """Adapted embeddings ``(B, T, fragments, 128)`` of clips ``(B, 3, T, H, W)``."""
    p = config.sampling.patch
    fragments = []
    for row in range(0, x.shape[3], p):
        for column in range(0, x.shape[4], p):
            y = x.detach()[:, :, :, row : row + p, column : column + p]
            flat = y.transpose(1, 2).flatten(0, 1)
            fragments.append(contrique(part(state, "distortion_tool"), config, flat))
    raw = torch.stack(fragments, 1).reshape(x.shape[0], x.shape[2], len(fragments), -1)
    share = config.distortion_share
    return share * _adapter(state, "dist_adapter", raw) + (1 - share) * raw


def contrique(state: State, config: KsvqeConfig, x: Tensor) -> Tensor:
    """Embeddings ``(N, 128)`` of fragments ``(N, 3, 32, 32)``, with running statistics."""
    x = F.conv2d(x, state["encoder.0.weight"], stride=2, padding=3)
    x = F.max_pool2d(F.relu(_batch_norm(state, "encoder.1", x)), 3, 2, 1)
    for stage, blocks in enumerate(config.contrique.blocks):
        for i in range(blocks):
            at, stride = f"encoder.{4 + stage}.{i}", 2 if stage and not i else 1
            y = F.relu(_batch_norm(state, f"{at}.bn1", F.conv2d(x, state[f"{at}.conv1.weight"])))
            y = F.conv2d(y, state[f"{at}.conv2.weight"], stride=stride, padding=1)
            y = F.conv2d(F.relu(_batch_norm(state, f"{at}.bn2", y)), state[f"{at}.conv3.weight"])
            if f"{at}.downsample.0.weight" in state:
                x = F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride)
                x = _batch_norm(state, f"{at}.downsample.1", x)
            x = F.relu(_batch_norm(state, f"{at}.bn3", y) + x)
    x = x.reshape(len(x), -1)
    x = x / x.norm(dim=1, keepdim=True)
    x = F.relu(_batch_norm(state, "projector.1", x @ state["projector.0.weight"].T))
    return _batch_norm(state, "projector.4", x @ state["projector.3.weight"].T)


def content_adaptive(state: State, at: int, x: Tensor, tokens: Tensor, heads: int) -> Tensor:
    """CaM on ``(B, T, H, W, C)``, with the patches ``(B, T, P, W)`` of every frame."""
    out = []
    for frame in range(x.shape[1]):
        content = _adapter(state, f"semantic_adapter.{at}", tokens[:, frame])
        here = x[:, frame].flatten(1, 2)
        warped = _cross(state, f"semantic_cross.{at}", here, content, heads)
        warped = warped.permute(0, 2, 1).reshape(len(x), -1, *x.shape[2:4])
        gamma, beta = (
            F.conv2d(warped, state[f"semantic_mod.{at}.{n}.weight"], state[f"semantic_mod.{at}.{n}.bias"])
            for n in ("conv_gama", "conv_beta")
        )
        out.append((torch.sigmoid(gamma) * x[:, frame].permute(0, 3, 1, 2) + beta).permute(0, 2, 3, 1))
    return torch.stack(out, 1)


def distortion_aware(state: State, at: int, x: Tensor, embeddings: Tensor, heads: int) -> Tensor:
    """DaM on ``(B, T, H, W, C)``."""
    batch, frames, h, w, width = x.shape
    own = _adapter(state, f"distortion_adapter.{at}", embeddings)
    warped = torch.stack(
        [
            _cross(state, f"distortion_cross.{at}", x[:, t].flatten(1, 2), own[:, t], heads)
            for t in range(frames)
        ],
        1,
    )
    mixed = []
    for place in range(h * w):
        q, k, v = (warped[:, :, place] @ state[f"distortion_self.{at}.to_qkv.weight"].T).chunk(3, 2)
        y = attend(q, k, v, heads, (width / heads) ** 0.5)
        mixed.append(_linear(state, f"distortion_self.{at}.to_out.0", y))
    flat = torch.stack(mixed, 1).reshape(batch, -1, width)
    mean = flat.mean(1)
    deviation = ((flat - mean[:, None]).square().sum(1) / (flat.shape[1] - 1)).sqrt()
    gamma = torch.sigmoid(_linear(state, f"distortion_mod.{at}.get_gamma", deviation))
    beta = _linear(state, f"distortion_mod.{at}.get_beta", mean)
    return gamma[:, None, None, None] * x + beta[:, None, None, None]


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, divisor: float) -> Tensor:
    """Attention of ``(N, L, C)`` to ``(N, M, C)``, head by head."""
    parts = zip(q.chunk(heads, 2), k.chunk(heads, 2), v.chunk(heads, 2), strict=True)
    return torch.cat([torch.softmax(a @ b.transpose(1, 2) / divisor, 2) @ c for a, b, c in parts], 2)


def _cross(state: State, at: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
    q = _linear(state, f"{at}.fc_q", x)
    k, v = _linear(state, f"{at}.fc_k", context), _linear(state, f"{at}.fc_v", context)
    return attend(q, k, v, heads, x.shape[2] ** 0.5)


def _adapter(state: State, at: str, x: Tensor) -> Tensor:
    return F.relu(_linear(state, f"{at}.2", F.relu(_linear(state, f"{at}.0", x))))


def _batch_norm(state: State, at: str, x: Tensor) -> Tensor:
    mean, variance = state[f"{at}.running_mean"], state[f"{at}.running_var"]
    return F.batch_norm(x, mean, variance, state[f"{at}.weight"], state[f"{at}.bias"])


def _linear(state: State, at: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{at}.weight"], state[f"{at}.bias"])


def _norm(state: State, at: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{at}.weight"], state[f"{at}.bias"])
