"""Cross-aware guided instance normalisation of two feature sequences."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vqafast import _core
from vqafast.ops._op import int64_lengths, valid_lengths, with_reference

Mode = Literal["cgin", "fgin", "adain"]


def _cgin(
    x: Any,
    y: Any,
    gamma_x: Any,
    theta_x: Any,
    gamma_y: Any,
    theta_y: Any,
    *,
    lengths: Any = None,
    mode: Mode = "cgin",
    eps: float = 1e-5,
    out: Any = None,
    threads: int = 0,
    stream: int = 0,
) -> npt.NDArray[Any]:
    r"""Normalise two feature sequences over time, each modulated by the other.

    With :math:`X_n = (X - \mu(X)) / \sigma(X)`, the statistics over time per sample and channel and
    :math:`\sigma = \sqrt{\mathrm{var} + \epsilon}` (biased variance):

    .. math::
        f(X, Y) = \gamma_s(Y) X_n + \theta_s(Y) + \gamma_1 X_n, \quad
        \mathrm{CGIN}(X, Y) = f(X, Y) \oplus f(Y, X)

    (A2INet, eqs. 3 and 4, :math:`\gamma_1 = 1`). Mode "fgin" has :math:`\gamma_1 = 0` (eq. 2); mode "adain"
    is :math:`\sigma(Y) X_n + \mu(Y)` (eq. 1). Both directions, with statistics, are done in one pass.

    Parameters
    ----------
    x, y : array (B, T, D) of float32 or float64
        The two sequences: NumPy, or anything with ``__dlpack__``. Any strides. All arrays have one dtype.
    gamma_x, theta_x : array (B, T, D), or None in mode "adain"
        Scale and shift of ``x``: the outputs of the fully connected layers applied to ``y``.
    gamma_y, theta_y : array (B, T, D), or None in mode "adain"
        Scale and shift of ``y``: the outputs of the layers applied to ``x``.
    lengths : array (B,) of integers, optional
        Number of valid time steps of each sample, in 1..T; all T when omitted. The rest never enters the
        statistics.
    mode : "cgin", "fgin" or "adain"
        Which of eqs. 3, 2 and 1.
    eps : float
        Positive; added to the variance under the root.
    out : array (B, T, 2D), optional
        C-contiguous array that receives the result and is returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.

    Returns
    -------
    array (B, T, 2D), dtype of ``x``
        ``f(x, y)``, then ``f(y, x)``; 0 where ``t >= lengths``. One time step gives a normalised value of 0.

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or T or D is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    return _core.cgin(
        x,
        y,
        gamma_x,
        theta_x,
        gamma_y,
        theta_y,
        int64_lengths("cgin", lengths),
        mode,
        eps,
        threads,
        stream,
        out,
    )


def reference(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    gamma_x: Any,
    theta_x: Any,
    gamma_y: Any,
    theta_y: Any,
    *,
    lengths: Any = None,
    mode: Mode = "cgin",
    eps: float = 1e-5,
) -> npt.NDArray[np.float64]:
    """Evaluate the definition in float64, one sample at a time."""
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    batch, time, width = first.shape
    result = np.zeros((batch, time, 2 * width))
    for b, length in enumerate(valid_lengths(lengths, batch, time)):
        directions = ((first, second, gamma_x, theta_x), (second, first, gamma_y, theta_y))
        for k, (features, guide, gamma, theta) in enumerate(directions):
            own, other = features[b, :length], guide[b, :length]
            normalised = (own - own.mean(axis=0)) / np.sqrt(own.var(axis=0) + eps)
            if mode == "adain":
                value = np.sqrt(other.var(axis=0) + eps) * normalised + other.mean(axis=0)
            else:
                scale = np.asarray(gamma, dtype=np.float64)[b, :length] + (1.0 if mode == "cgin" else 0.0)
                value = scale * normalised + np.asarray(theta, dtype=np.float64)[b, :length]
            result[b, :length, k * width : (k + 1) * width] = value
    return result


def _cgin_backward(
    grad: Any,
    x: Any,
    y: Any,
    gamma_x: Any,
    gamma_y: Any,
    *,
    lengths: Any = None,
    mode: Mode = "cgin",
    eps: float = 1e-5,
    out: tuple[Any, ...] | None = None,
    threads: int = 0,
    stream: int = 0,
) -> tuple[Any, ...]:
    r"""Gradients of `cgin` with respect to its inputs.

    With :math:`h_t = g_t (\gamma_t + \gamma_1)` the gradient of :math:`X_n`, and means over time:

    .. math::
        \frac{\partial L}{\partial \gamma_t} = g_t X_{n,t}, \quad
        \frac{\partial L}{\partial X_t} =
        \frac{1}{\sigma} \left( h_t - \overline{h} - X_{n,t} \overline{h X_n} \right)

    In mode "adain", where :math:`h_t = g_t \sigma(Y)`, the guide gets
    :math:`\overline{g} + Y_{n,t} \overline{g X_n}` besides, through its mean and deviation. The gradients of
    ``theta_x`` and ``theta_y`` are the halves of ``grad`` at valid steps, so they are not returned.

    Parameters
    ----------
    grad : array (B, T, 2D)
        Gradient of the output. What stands at padding is not read.
    x, y, gamma_x, gamma_y, lengths, mode, eps
        As given to `cgin`.
    out : tuple of 4 arrays (B, T, D), the last two None in mode "adain"; optional
        C-contiguous arrays that receive the results and are returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.

    Returns
    -------
    d_x, d_y, d_gamma_x, d_gamma_y : array (B, T, D), dtype of ``x``
        0 where ``t >= lengths``; the last two are None in mode "adain".

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or T or D is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    outputs = (None,) * 4 if out is None else tuple(out) + (None,) * (4 - len(out))
    lengths = int64_lengths("cgin_backward", lengths)
    return _core.cgin_backward(grad, x, y, gamma_x, gamma_y, lengths, mode, eps, threads, stream, *outputs)


def backward_reference(
    grad: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    gamma_x: Any,
    gamma_y: Any,
    *,
    lengths: Any = None,
    mode: Mode = "cgin",
    eps: float = 1e-5,
) -> tuple[npt.NDArray[np.float64] | None, ...]:
    """Apply the chain rule in float64, one sample at a time, through mean and variance one by one."""
    pair = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    given = np.asarray(grad, dtype=np.float64)
    batch, time, width = pair[0].shape
    d_features = [np.zeros((batch, time, width)) for _ in range(2)]
    d_gamma = [np.zeros((batch, time, width)) for _ in range(2)]
    for b, n in enumerate(valid_lengths(lengths, batch, time)):
        for k, gamma in enumerate((gamma_x, gamma_y)):
            own, other = pair[k][b, :n], pair[1 - k][b, :n]
            g = given[b, :n, k * width : (k + 1) * width]
            centred = own - own.mean(axis=0)
            sigma = np.sqrt(own.var(axis=0) + eps)
            if mode == "adain":
                other_sigma = np.sqrt(other.var(axis=0) + eps)
                h = g * other_sigma
                d_other_sigma = (g * centred / sigma).sum(axis=0)
                d_other = g.sum(axis=0) / n + d_other_sigma * (other - other.mean(axis=0)) / (n * other_sigma)
                d_features[1 - k][b, :n] += d_other
            else:
                h = g * (np.asarray(gamma, dtype=np.float64)[b, :n] + (1.0 if mode == "cgin" else 0.0))
                d_gamma[k][b, :n] = g * centred / sigma
            d_variance = (h * centred).sum(axis=0) * -0.5 / sigma**3
            d_mean = -h.sum(axis=0) / sigma
            d_features[k][b, :n] += h / sigma + d_variance * 2 * centred / n + d_mean / n
    if mode == "adain":
        return (*d_features, None, None)
    return (*d_features, *d_gamma)


cgin = with_reference(_cgin, reference)
cgin_backward = with_reference(_cgin_backward, backward_reference)
