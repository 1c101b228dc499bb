"""Spatial mean and standard deviation of feature maps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vqafast import _core
from vqafast.ops._op import with_reference


def _moment_pool(
    x: Any,
    *,
    layout: Literal["nchw", "nhwc"] = "nchw",
    out: Any = None,
    threads: int = 0,
) -> npt.NDArray[np.float32]:
    r"""Pool each channel of a feature map to its spatial mean and standard deviation.

    .. math::
        \mu_c = \frac{1}{HW} \sum_{hw} x_{chw}, \quad
        \sigma_c = \sqrt{\frac{1}{HW} \sum_{hw} (x_{chw} - \mu_c)^2}

    the global average and global standard deviation pooling of A2INet (section 3.1). The map is read once and
    deviations are taken from the means of small blocks, so a large offset costs no precision.

    Parameters
    ----------
    x : array (N, C, H, W) or (N, H, W, C) of float32 or float16
        Feature maps: NumPy, or anything with ``__dlpack__``. Any strides.
    layout : "nchw" or "nhwc"
        Order of the axes of ``x``.
    out : array (N, 2C) of float32, optional
        C-contiguous array that receives the result and is returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.

    Returns
    -------
    array (N, 2C) of float32
        All means, then all standard deviations (biased: divided by HW).

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape, dtype or value is not as described, or C, H or W is 0.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    return _core.moment_pool(x, layout, threads, out)


def reference(x: npt.ArrayLike, *, layout: Literal["nchw", "nhwc"] = "nchw") -> npt.NDArray[np.float64]:
    """Evaluate the definition in float64."""
    maps = np.asarray(x, dtype=np.float64)
    axes = (2, 3) if layout == "nchw" else (1, 2)
    return np.concatenate([maps.mean(axis=axes), maps.std(axis=axes)], axis=1)


moment_pool = with_reference(_moment_pool, reference)
