"""A2INet's equations on torch tensors, differentiable, aware of padding.

`lengths` is ``(B,)``: the first ``lengths[b]`` of T steps are real, the others padding, which
enters nothing; None means that all are real.

`cgin`, `hysteresis_pool` and `moment_pool` run as fused ops (`torch.ops.vqafast`) where those have
kernels. The ``*_reference`` functions are the same equations in plain torch: what the fused ones are
tested against, and what runs on other devices, in pure half precision, and in a graph that is traced or
exported, which must hold operators that every engine has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqafast.ops._register import DEVICES  # the import defines torch.ops.vqafast

_COMPUTED = (torch.float32, torch.float64)
_READ = (*_COMPUTED, torch.float16, torch.bfloat16)


def _fusable(*tensors: Tensor | None, dtypes: tuple[torch.dtype, ...] = _COMPUTED) -> bool:
    """Whether the fused ops take these tensors here and now."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or torch.compiler.is_exporting():
        return False
    given = [t for t in tensors if t is not None]
    device = given[0].device.type
    if device not in DEVICES:
        return False
    taken = _READ if torch.is_autocast_enabled(device) else dtypes
    return all(t.device.type == device and t.dtype in taken for t in given)


def step_mask(lengths: Tensor | None, steps: int) -> Tensor | None:
    """``(B, T)`` bool, True at real steps; None for None."""
    if lengths is None:
        return None
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def keep(x: Tensor, mask: Tensor | None, fill: float = 0.0) -> Tensor:
    """`x` ``(B, T, ...)`` with padding replaced, whatever it holds, NaN included."""
    if mask is None:
        return x
    wide = mask.reshape(mask.shape + (1,) * (x.ndim - 2))
    return torch.where(wide, x, torch.full((), fill, dtype=x.dtype, device=x.device))


def root(var: Tensor) -> Tensor:
    """Square root with derivative 0 at 0, where the true one is infinite."""
    positive = var > 0
    safe = torch.where(positive, var, torch.ones_like(var))
    return torch.where(positive, torch.sqrt(safe), torch.zeros_like(var))


def moments(x: Tensor, lengths: Tensor | None = None, *, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance over T of ``(B, T, D)``, each ``(B, 1, D)``; in two passes."""
    mask = step_mask(lengths, x.shape[1])
    if lengths is None:
        mean = x.mean(dim=1, keepdim=True)
        if correction == 0:
            return mean, (x - mean).square().mean(dim=1, keepdim=True)
        count = torch.full((1, 1, 1), float(x.shape[1]), dtype=x.dtype, device=x.device)
    else:
        count = lengths.to(x.dtype)[:, None, None]
        mean = keep(x, mask).sum(dim=1, keepdim=True) / count
    squares = keep((x - mean).square(), mask).sum(dim=1, keepdim=True)
    return mean, squares / (count - correction).clamp(min=1)


def moment_pool(maps: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Spatial mean, then biased standard deviation, of each map (section 3.1).

    A deviation of 0 has the gradient 0.

    Parameters
    ----------
    maps : tuple of Tensor
        ``(N, C_i, H_i, W_i)``.

    Returns
    -------
    Tensor
        ``(N, 2 * sum(C_i))``: mean_0, std_0, mean_1, std_1, ... In the maps' dtype; float32 for half
        maps under autocast.
    """
    if not _fusable(*maps, dtypes=_READ):
        return moment_pool_reference(maps)
    pooled = torch.cat([torch.ops.vqafast.moment_pool(x) for x in maps], dim=1)
    return pooled if torch.is_autocast_enabled(pooled.device.type) else pooled.to(maps[0].dtype)


def moment_pool_reference(maps: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Evaluate `moment_pool` in plain torch."""
    parts = []
    for x in maps:
        mean = x.mean(dim=(2, 3), keepdim=True)
        parts += [mean.flatten(1), root((x - mean).square().mean(dim=(2, 3)))]
    return torch.cat(parts, dim=1)


def cgin(
    x: Tensor,
    y: Tensor,
    gamma_x: Tensor | None,
    theta_x: Tensor | None,
    gamma_y: Tensor | None,
    theta_y: Tensor | None,
    *,
    lengths: Tensor | None = None,
    mode: str = "cgin",
    direction: str = "both",
    eps: float = 1e-5,
) -> Tensor:
    """Both directions of eq. 1 (adain), 2 (fgin) or 3 (cgin), concatenated (eq. 4).

    Parameters
    ----------
    x, y : Tensor
        ``(B, T, D)``. Normalised x is modulated by gamma_x, theta_x, which come from y.
    gamma_x, theta_x, gamma_y, theta_y : Tensor or None
        ``(B, T, D)``; None in mode "adain".
    direction : {"both", "q_to_s", "s_to_q"}
        x is q and y is s; the feature that is not deformed is kept as it is.

    Returns
    -------
    Tensor
        ``(B, T, 2D)``, of no meaning at padding; float32 for half features under autocast.
    """
    parts = (x, y, gamma_x, theta_x, gamma_y, theta_y)
    if eps <= 0 or not _fusable(*parts):
        return cgin_reference(*parts, lengths=lengths, mode=mode, direction=direction, eps=eps)
    out: Tensor = torch.ops.vqafast.cgin(*parts, lengths, mode, eps)
    if direction == "both":
        return out
    width = x.shape[2]
    kept = (x, out[:, :, width:]) if direction == "s_to_q" else (out[:, :, :width], y)
    return torch.cat(kept, dim=2)


def cgin_reference(
    x: Tensor,
    y: Tensor,
    gamma_x: Tensor | None,
    theta_x: Tensor | None,
    gamma_y: Tensor | None,
    theta_y: Tensor | None,
    *,
    lengths: Tensor | None = None,
    mode: str = "cgin",
    direction: str = "both",
    eps: float = 1e-5,
) -> Tensor:
    """Evaluate `cgin` in plain torch."""
    mean_x, var_x = moments(x, lengths)
    mean_y, var_y = moments(y, lengths)
    sigma_x, sigma_y = torch.sqrt(var_x + eps), torch.sqrt(var_y + eps)
    xn, yn = (x - mean_x) / sigma_x, (y - mean_y) / sigma_y
    if mode == "adain":
        to_y, to_x = sigma_y * xn + mean_y, sigma_x * yn + mean_x
    else:
        if gamma_x is None or theta_x is None or gamma_y is None or theta_y is None:
            raise ValueError(f"cgin: mode {mode} needs gamma_x, theta_x, gamma_y, theta_y")
        gamma_1 = 1.0 if mode == "cgin" else 0.0
        to_y = gamma_x * xn + theta_x + gamma_1 * xn
        to_x = gamma_y * yn + theta_y + gamma_1 * yn
    if direction == "s_to_q":
        to_y = x
    elif direction == "q_to_s":
        to_x = y
    return torch.cat([to_y, to_x], dim=2)


def hysteresis_pool(
    q: Tensor, lengths: Tensor | None = None, *, alpha: float = 0.5, beta: int = 6
) -> tuple[Tensor, Tensor]:
    """Temporal hysteresis pooling (supplement, eqs. 2-5).

    Memory is the minimum of the `beta` scores before, ``m_1 = q_1``; its subgradient goes to the
    first minimum. The current quality is the softmin-weighted mean of the score and the `beta`
    after it.

    Parameters
    ----------
    q : Tensor
        ``(B, T)`` frame scores.

    Returns
    -------
    score : Tensor
        ``(B,)``, the mean of the series.
    series : Tensor
        ``(B, T)``, 0 at padding. Both float32 for half scores under autocast.
    """
    if not _fusable(q):
        return hysteresis_pool_reference(q, lengths, alpha=alpha, beta=beta)
    score, series = torch.ops.vqafast.hysteresis_pool(q, lengths, alpha, beta)
    return score, series


def hysteresis_pool_reference(
    q: Tensor, lengths: Tensor | None = None, *, alpha: float = 0.5, beta: int = 6
) -> tuple[Tensor, Tensor]:
    """Evaluate `hysteresis_pool` in plain torch."""
    batch, steps = q.shape
    mask = step_mask(lengths, steps)
    q = keep(q, mask)
    t = torch.arange(steps, device=q.device)[:, None]
    before = t - torch.arange(beta, 0, -1, device=q.device)  # (T, beta), oldest first
    before_ok = before >= 0
    # The first frame remembers itself.
    before_ok[0, -1] = True
    past = q[:, before.clamp(min=0)].masked_fill(~before_ok, torch.inf)
    # argmin returns the first of equal minima, which min does not promise for its gradient.
    memory = past.gather(2, past.argmin(dim=2, keepdim=True)).squeeze(2)

    after = t + torch.arange(beta + 1, device=q.device)  # (T, beta + 1)
    last = torch.full((batch,), steps, device=q.device) if lengths is None else lengths
    ok = after[None] < torch.maximum(last[:, None, None], t[None] + 1)
    ahead = q[:, after.clamp(max=steps - 1)]
    weights = torch.softmax((-ahead).masked_fill(~ok, -torch.inf), dim=2)
    current = (weights * ahead).sum(dim=2)

    series = keep(alpha * memory + (1 - alpha) * current, mask)
    return series.sum(dim=1) / last.to(q.dtype), series
