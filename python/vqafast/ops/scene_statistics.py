"""Natural-scene statistics of luma pairs: the quality-aware features of the embedded default model."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from vqafast import _core
from vqafast.ops._op import with_reference

_SCALES = 4
_REACH = 3  # of the 7-tap window
_GRID = 16
_DCT_BANDS = 10

_Maps = npt.NDArray[np.floating[Any]]
SceneMap = Literal["luma", "gradient", "detail", "difference"]
SCENE_MAPS: tuple[SceneMap, ...] = get_args(SceneMap)


def _scene_statistics(
    frames: Any,
    *,
    of: SceneMap = "luma",
    out: Any = None,
    threads: int = 0,
    stream: int = 0,
    workspace: Any = None,
) -> npt.NDArray[np.float32]:
    r"""Measure how far the local statistics of pictures are from those of natural scenes.

    With :math:`Y` the chosen map, :math:`I = 255 Y - 127.5`, :math:`D` the change of :math:`I` to the next
    picture, :math:`\mu` and :math:`\sigma^2` the mean and variance of :math:`I` under a 7x7 Gaussian window
    of standard deviation 7/6, and :math:`s = \sqrt{\sigma^2 + 10^{-3}}`, the mean-subtracted
    contrast-normalised (MSCN) coefficients are

    .. math:: \hat I(i, j) = \frac{I(i, j) - \mu(i, j)}{s(i, j) + 1}

    (Mittal, Moorthy, Bovik, BRISQUE, IEEE TIP 2012, eqs. 1 to 3; their neighbour products: eqs. 7 to 10.)

    On four scales, each 2x2 means of the one before, 13 channels: the gradient :math:`g`; :math:`s`;
    :math:`\sqrt s`; :math:`|\hat I|`; :math:`\hat I^2`; the products of :math:`\hat I` with its neighbours to
    the right, below, and on both diagonals below (added up); the soft shares of pixels with :math:`s < 1`,
    :math:`s < 3` and :math:`g < 24`; :math:`|D|`; :math:`\sqrt{|D|}`. On the full size: mean magnitude and
    share of near-zero coefficients in ten bands of the 8x8 DCT (20 channels), and the excess of pixel steps
    over their neighbours by phase on a 16-pixel grid (16 channels). Each channel is pooled to its mean and
    standard deviation over the picture. The formulas are in ``csrc/ops/scene_statistics/scene_statistics.h``.
    This is `FilterBank` followed by `moment_pool` of each stage, without storing any of its maps; variances
    are taken from local differences, so flat regions lose no precision however bright they are.

    Parameters
    ----------
    frames : array (N, 2, H, W) of float32
        Luma in 0..1 of a picture and of the one after it: NumPy, or anything with ``__dlpack__``. Any
        strides. H and W at least 96.
    of : "luma", "gradient", "detail" or "difference"
        What is measured: luma; the magnitude of its gradient (steps to the right and down); luma less the
        mean of its four neighbours, plus 1/2; or 1/2 plus half of the change to the next picture. Natural
        pictures have regular statistics in such maps too, and each shows other faults (Tu et al., RAPIQUE,
        IEEE OJSP 2021, section III).
    out : array (N, 176) of float32, optional
        C-contiguous array that receives the result and is returned.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out` and
        `workspace`.
    workspace : array of uint8, optional
        Memory to work in, on the device of `frames`: C-contiguous, aligned to 64 bytes, at least
        ``_core.scene_statistics_workspace(frames)`` bytes. None: CPU memory for this call. Its contents are
        lost; on a CUDA device it must live until the stream has done the work.

    Returns
    -------
    array (N, 176) of float32
        For each of the six stages the means of its channels, then their standard deviations (biased: divided
        by the number of values). Steps, contrasts and coefficients are in grey levels of 255.

    Raises
    ------
    InvalidArgument
        A `ValueError`: a shape or dtype is not as described.
    Unsupported
        A `NotImplementedError`: the tensors are on a device this build has no kernel for.
    """
    return _core.scene_statistics(frames, of, threads, stream, workspace, out)


def _blur(x: _Maps) -> _Maps:
    offsets = np.arange(-_REACH, _REACH + 1)
    weights = np.exp(-0.5 * (offsets / (7 / 6)) ** 2)
    weights = (weights / weights.sum()).astype(x.dtype)
    rows: _Maps = np.einsum("...k,k->...", sliding_window_view(x, 7, axis=1), weights)
    blurred: _Maps = np.einsum("...k,k->...", sliding_window_view(rows, 7, axis=2), weights)
    return blurred


def _share_below(x: _Maps, level: float) -> _Maps:
    result: _Maps = 1 / (1 + (x / x.dtype.type(level)) ** 4)
    return result


def _halve(x: _Maps) -> _Maps:
    n, height, width = x.shape[0], x.shape[1] // 2, x.shape[2] // 2
    result: _Maps = x[:, : 2 * height, : 2 * width].reshape(n, height, 2, width, 2).mean(axis=(2, 4))
    return result


def _scale_maps(x: _Maps, d: _Maps) -> _Maps:
    mean = _blur(x)
    variance = np.maximum(_blur(x * x) - mean * mean, 0)
    deviation = np.sqrt(variance + x.dtype.type(1e-3))
    mscn = (x[:, _REACH:-_REACH, _REACH:-_REACH] - mean) / (deviation + 1)
    core, local = mscn[:, 1:-1, 1:-1], deviation[:, 1:-1, 1:-1]
    crop = slice(_REACH + 1, -_REACH - 1)
    ahead = slice(_REACH + 2, -_REACH)
    middle = x[:, crop, crop]
    gradient = np.abs(x[:, crop, ahead] - middle) + np.abs(x[:, ahead, crop] - middle)
    moved = np.abs(d[:, crop, crop])
    maps = [gradient, local, np.sqrt(local), np.abs(core), core * core]
    maps += [core * mscn[:, 1:-1, 2:], core * mscn[:, 2:, 1:-1], core * (mscn[:, 2:, 2:] + mscn[:, 2:, :-2])]
    maps += [_share_below(local, 1), _share_below(local, 3), _share_below(gradient, 24)]
    return np.stack([*maps, moved, np.sqrt(moved)], axis=1)


def _dct_maps(x: _Maps) -> _Maps:
    n, height, width = x.shape[0], x.shape[1] // 8, x.shape[2] // 8
    k = np.arange(8)
    basis = 0.5 * np.cos((2 * k[None, :] + 1) * k[:, None] * np.pi / 16)
    basis[0] /= np.sqrt(2)
    basis = basis.astype(x.dtype)
    blocks = x[:, : 8 * height, : 8 * width].reshape(n, height, 8, width, 8)
    coefficients = np.einsum("nhywx,uy,vx->nuvhw", blocks, basis, basis, optimize=True)
    zero = _share_below(coefficients, 1.5)
    ring = np.minimum(k[:, None] + k[None, :], _DCT_BANDS)
    bands = [ring == r for r in range(1, _DCT_BANDS + 1)]
    means = [values[:, band].mean(axis=1) for values in (np.abs(coefficients), zero) for band in bands]
    return np.stack(means, axis=1)


def _phases(x: _Maps) -> _Maps:
    """Excess along rows, averaged over 16 rows: (N, 16 phases, cells down, cells across)."""
    n, cells_down, cells_across = x.shape[0], (x.shape[1] - 3) // _GRID, (x.shape[2] - 3) // _GRID
    steps = np.abs(np.diff(x, axis=2))
    excess = steps[:, :, 1:-1] - (steps[:, :, :-2] + steps[:, :, 2:]) / 2
    cells = excess[:, : cells_down * _GRID, : cells_across * _GRID].reshape(
        n, cells_down, _GRID, cells_across, _GRID
    )
    result: _Maps = cells.mean(axis=2).transpose(0, 3, 1, 2)
    return result


def _measured(y: _Maps, name: SceneMap) -> _Maps:
    """The map of pictures ``(N, 2, H, W)``."""
    if name == "gradient":
        across = np.diff(y, axis=3, append=y[..., -1:])
        down = np.diff(y, axis=2, append=y[:, :, -1:])
        return np.asarray(np.sqrt(across * across + down * down))
    if name == "detail":
        wide = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        beside = wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
        over = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1]
        return np.asarray(y.dtype.type(0.5) + y - (beside + over) / 4)
    if name == "difference":
        change = y.dtype.type(0.5) + (y[:, 1] - y[:, 0]) / 2
        return np.asarray(np.stack([change, change], axis=1))
    return y


def evaluate(frames: npt.ArrayLike, dtype: npt.DTypeLike, of: SceneMap = "luma") -> _Maps:
    """Evaluate the definition step by step in `dtype`."""
    y: _Maps = _measured(np.asarray(frames).astype(dtype), of)
    levels: _Maps = y * 255 - y.dtype.type(127.5)
    x: _Maps = levels[:, 0]
    d: _Maps = levels[:, 1] - x
    stages = [_scale_maps(x, d)]
    for _ in range(1, _SCALES):
        x, d = _halve(x), _halve(d)
        stages.append(_scale_maps(x, d))
    luma = levels[:, 0]
    stages += [_dct_maps(luma), _phases(luma) + _phases(luma.swapaxes(1, 2)).swapaxes(2, 3)]
    return np.concatenate(
        [part for s in stages for part in (s.mean(axis=(2, 3)), s.std(axis=(2, 3)))], axis=1
    )


def reference(frames: npt.ArrayLike, *, of: SceneMap = "luma") -> npt.NDArray[np.float64]:
    """Evaluate the definition in float64."""
    result: npt.NDArray[np.float64] = evaluate(frames, np.float64, of).astype(np.float64)
    return result


scene_statistics = with_reference(_scene_statistics, reference)
