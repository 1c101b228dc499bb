"""Spatial mean and standard deviation of feature maps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vqafast import _core
from vqafast.ops._op import with_reference

Layout = Literal["nchw", "nhwc"]


def _moment_pool(
    x: Any,
    *,
    layout: Layout = "nchw",
    out: Any = None,
    threads: int = 0,
    stream: int = 0,
    workspace: Any = None,
) -> npt.NDArray[Any]:
    r"""Pool each channel of a feature map to its spatial mean and standard deviation.

    .. math::
        \mu_c = \frac{1}{HW} \sum_{hw} x_{chw}, \quad
        \sigma_c = \sqrt{\frac{1}{HW} \sum_{hw} (x_{chw} - \mu_c)^2}

    the global average and global standard deviation pooling of A2INet (section 3.1). The map is read once and
    deviations are taken from the means of small blocks, so a large offset costs no precision.

    Parameters
    ----------
    x : array (N, C, H, W) or (N, H, W, C) of float32, float16, bfloat16 or float64
        Feature maps: NumPy, or anything with ``__dlpack__``. Any strides.
    layout : "nchw" or "nhwc"
        Order of the axes of ``x``.
    out : array (N, 2C), optional
        C-contiguous array that receives the result and is returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.
    workspace : array (M,) of float64 on the device of ``x``, optional
        C-contiguous memory for the op to write to, of at least ``moment_pool_workspace(x, layout)`` elements.
        CUDA tensors need it unless that is 0, and nothing else may use it until the stream has come past this
        call. On the CPU the op makes its own when it is None.

    Returns
    -------
    array (N, 2C) of float32, or float64 for float64 maps
        All means, then all standard deviations (biased: divided by HW).

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or C, H or W is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    return _core.moment_pool(x, layout, threads, stream, out, workspace)


def moment_pool_workspace(x: Any, layout: Layout = "nchw") -> int:
    """Number of float64 elements that `moment_pool` needs as its `workspace` for ``x``.

    On CUDA it follows from shape, dtype and layout alone, whatever the strides and the device.
    """
    return _core.moment_pool_workspace(x, layout)


def reference(x: npt.ArrayLike, *, layout: Layout = "nchw") -> npt.NDArray[np.float64]:
    """Evaluate the definition in float64."""
    maps = np.asarray(x, dtype=np.float64)
    axes = (2, 3) if layout == "nchw" else (1, 2)
    return np.concatenate([maps.mean(axis=axes), maps.std(axis=axes)], axis=1)


def _moment_pool_backward(
    grad: Any,
    x: Any,
    moments: Any,
    *,
    layout: Layout = "nchw",
    out: Any = None,
    threads: int = 0,
    stream: int = 0,
) -> npt.NDArray[Any]:
    r"""Gradient of `moment_pool` with respect to the feature map.

    .. math::
        \frac{\partial L}{\partial x_{chw}} = \frac{1}{HW} \left( \frac{\partial L}{\partial \mu_c}
        + \frac{x_{chw} - \mu_c}{\sigma_c} \frac{\partial L}{\partial \sigma_c} \right)

    At :math:`\sigma_c = 0` the second term, whose derivative does not exist, is 0; so it is below the
    smallest normal number of the result's dtype, whose inverse is infinite.

    Parameters
    ----------
    grad : array (N, 2C), dtype of `moment_pool`'s result
        Gradients of the means, then of the standard deviations.
    x, layout
        As given to `moment_pool`.
    moments : array (N, 2C), dtype of `moment_pool`'s result
        What `moment_pool` gave.
    out : array of the shape and dtype of ``x``, optional
        C-contiguous array that receives the result and is returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.

    Returns
    -------
    array of the shape and dtype of ``x``

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or C, H or W is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    return _core.moment_pool_backward(grad, x, moments, layout, threads, stream, out)


def backward_reference(
    grad: npt.ArrayLike, x: npt.ArrayLike, moments: Any = None, *, layout: Layout = "nchw"
) -> npt.NDArray[np.float64]:
    """Evaluate the definition in float64, with moments of its own: `moments` is not read."""
    del moments
    maps = np.asarray(x, dtype=np.float64)
    axes = (2, 3) if layout == "nchw" else (1, 2)
    means, deviations = maps.mean(axis=axes, keepdims=True), maps.std(axis=axes, keepdims=True)
    halves = np.split(np.asarray(grad, dtype=np.float64), 2, axis=1)
    d_mean, d_deviation = (np.expand_dims(half, axes) for half in halves)
    normalised = np.divide(maps - means, deviations, out=np.zeros_like(maps), where=deviations > 0)
    pixels = maps.shape[axes[0]] * maps.shape[axes[1]]
    return np.asarray((d_mean + normalised * d_deviation) / pixels)


moment_pool = with_reference(_moment_pool, reference)
moment_pool_backward = with_reference(_moment_pool_backward, backward_reference)
