"""Temporal hysteresis pooling of frame scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vqafast import _core
from vqafast.ops._op import int64_lengths, valid_lengths, with_reference


def _hysteresis_pool(
    q: Any,
    *,
    lengths: Any = None,
    alpha: float = 0.5,
    beta: int = 6,
    out: tuple[Any, Any] | None = None,
    threads: int = 0,
    stream: int = 0,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    r"""Pool frame scores into one score per video that remembers its worst moments.

    For each frame, the memory term is the worst of the ``beta`` scores before it; the current term is the
    mean of the scores from it to ``beta`` frames later, weighted towards the low ones:

    .. math::
        m_1 = q_1, \quad m_t = \min_{\max(1, t-\beta) \le k < t} q_k, \quad
        c_t = \sum_k w_k q_k, \ w = \mathrm{softmax}(-q) \text{ over } t \le k \le \min(t+\beta, T)

        q'_t = \alpha m_t + (1 - \alpha) c_t, \quad Q = \frac{1}{T} \sum_t q'_t

    (A2INet, supplementary, eqs. 2 to 4.)

    Parameters
    ----------
    q : array (B, T) of float32 or float64
        Frame scores: NumPy, or anything with ``__dlpack__``. Any strides.
    lengths : array (B,) of integers, optional
        Number of valid frames of each sample, in 1..T; all T when omitted. Frames beyond are ignored.
    alpha : float
        Weight of the memory term, in 0..1.
    beta : int
        Frames looked at on each side, at least 1.
    out : pair of arrays ((B,), (B, T)), optional
        C-contiguous arrays that receive the results and are returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.

    Returns
    -------
    pooled : array (B,), dtype of ``q``
        :math:`Q`, in the units of ``q``.
    series : array (B, T), dtype of ``q``
        :math:`q'_t`; 0 where ``t >= lengths``.

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or T is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    pooled, series = (None, None) if out is None else out
    return _core.hysteresis_pool(
        q, int64_lengths("hysteresis_pool", lengths), alpha, beta, threads, stream, pooled, series
    )


def reference(
    q: npt.ArrayLike, *, lengths: Any = None, alpha: float = 0.5, beta: int = 6
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Evaluate the definition in float64, one frame at a time."""
    scores = np.asarray(q, dtype=np.float64)
    batch, time = scores.shape
    series = np.zeros((batch, time))
    pooled = np.zeros(batch)
    for b, length in enumerate(valid_lengths(lengths, batch, time)):
        row = scores[b, :length]
        for t in range(length):
            memory = row[0] if t == 0 else row[max(0, t - beta) : t].min()
            ahead = row[t : t + beta + 1]
            weights = np.exp(ahead.min() - ahead)
            series[b, t] = alpha * memory + (1 - alpha) * (weights @ ahead) / weights.sum()
        pooled[b] = series[b, :length].mean()
    return pooled, series


def _hysteresis_pool_backward(
    d_pooled: Any,
    d_series: Any,
    q: Any,
    *,
    lengths: Any = None,
    alpha: float = 0.5,
    beta: int = 6,
    out: Any = None,
    threads: int = 0,
    stream: int = 0,
) -> npt.NDArray[Any]:
    r"""Gradient of `hysteresis_pool` with respect to the frame scores.

    With :math:`s_t = \partial L / \partial q'_t + \frac{1}{T} \, \partial L / \partial Q`:

    .. math::
        \frac{\partial L}{\partial q_k} = \sum_t s_t \left( \alpha \, [k = \mathrm{argmin}_t]
        + (1 - \alpha) \, w_{t,k} (1 - q_k + c_t) \right)

    where :math:`\mathrm{argmin}_t` is the first frame with the least score of the memory's window: the
    subgradient of the minimum goes to it alone.

    Parameters
    ----------
    d_pooled : array (B,) or None
        Gradient of the pooled score; None for 0.
    d_series : array (B, T) or None
        Gradient of the series; None for 0. What stands at padding is not read.
    q, lengths, alpha, beta
        As given to `hysteresis_pool`.
    out : array (B, T), optional
        C-contiguous array that receives the result and is returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.

    Returns
    -------
    array (B, T), dtype of ``q``
        0 where ``t >= lengths``.

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or T is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    lengths = int64_lengths("hysteresis_pool_backward", lengths)
    return _core.hysteresis_pool_backward(d_pooled, d_series, q, lengths, alpha, beta, threads, stream, out)


def backward_reference(
    d_pooled: Any,
    d_series: Any,
    q: npt.ArrayLike,
    *,
    lengths: Any = None,
    alpha: float = 0.5,
    beta: int = 6,
) -> npt.NDArray[np.float64]:
    """Apply the chain rule in float64, one frame at a time, with the softmax's Jacobian written out."""
    scores = np.asarray(q, dtype=np.float64)
    batch, time = scores.shape
    pooled = np.zeros(batch) if d_pooled is None else np.asarray(d_pooled, dtype=np.float64)
    series = np.zeros((batch, time)) if d_series is None else np.asarray(d_series, dtype=np.float64)
    result = np.zeros((batch, time))
    for b, length in enumerate(valid_lengths(lengths, batch, time)):
        row = scores[b, :length]
        for t in range(length):
            share = series[b, t] + pooled[b] / length
            first = max(0, t - beta)
            result[b, 0 if t == 0 else first + int(row[first:t].argmin())] += alpha * share
            ahead = row[t : t + beta + 1]
            weights = np.exp(ahead.min() - ahead)
            weights /= weights.sum()
            jacobian = np.outer(weights, weights) - np.diag(weights)  # d weights / d ahead
            here = slice(t, t + len(ahead))
            result[b, here] += (1 - alpha) * share * (weights + jacobian @ ahead)
    return result


hysteresis_pool = with_reference(_hysteresis_pool, reference)
hysteresis_pool_backward = with_reference(_hysteresis_pool_backward, backward_reference)
