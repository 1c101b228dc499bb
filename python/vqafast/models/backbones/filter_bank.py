"""The quality-aware backbone of ``a2inet-lite``: a fixed bank of natural-scene-statistics filters.

A pristine picture has regular local statistics; compression, blur and noise each bend them in
their own way. The bank measures them with filters that need no training, so that a small set
of contents cannot be learnt by heart: mean-subtracted contrast-normalised (MSCN) coefficients
and their neighbour products (Mittal et al., BRISQUE, IEEE TIP 2012, eqs. 1 to 3, 7 to 10), local
contrast, gradients and frame differences over four scales, 8x8 DCT band energies, and the
strength of edges by their phase on a 16-pixel grid (blocking). Each stage's maps are pooled
by mean and standard deviation like any other backbone's (A2INet, section 3.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad

if TYPE_CHECKING:
    from vqafast.ops.scene_statistics import SceneMap

SCALES = 4
SCALE_CHANNELS = 13
#: Local window of the MSCN transform: 7 taps, sigma 7/6 (BRISQUE, section III-A).
TAPS = 7
#: Contrast and gradient thresholds in grey levels of 255, each with a soft edge.
FLAT_LEVELS = (1.0, 3.0)
EDGE_LEVEL = 24.0
#: DCT coefficients below this count as quantised away (grey levels, orthonormal DCT).
ZERO_LEVEL = 1.5
DCT_BANDS = 10
GRID = 16


def _gaussian() -> Tensor:
    offsets = torch.arange(TAPS, dtype=torch.float64) - TAPS // 2
    weights = torch.exp(-0.5 * (offsets / (TAPS / 6)) ** 2)
    return (weights / weights.sum()).float()


def _dct_filters() -> tuple[Tensor, Tensor]:
    """8x8 orthonormal DCT as (64, 1, 8, 8) filters, and the (bands, 64, 1, 1) band averages."""
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * n[None, :] + 1) * n[:, None] * math.pi / 16) * 0.5
    basis[0] /= math.sqrt(2.0)
    filters = torch.einsum("uy,vx->uvyx", basis, basis).reshape(64, 1, 8, 8)
    u, v = torch.meshgrid(n, n, indexing="ij")
    # rings of equal u + v; the DC term belongs to none
    ring = torch.clamp((u + v).reshape(64).long() - 1, max=DCT_BANDS - 1)
    bands = torch.zeros(DCT_BANDS, 64, dtype=torch.float64)
    bands[ring[1:], torch.arange(1, 64)] = 1.0
    bands /= bands.sum(dim=1, keepdim=True)
    return filters.float(), bands.float()[:, :, None, None]


def _share_below(x: Tensor, level: float) -> Tensor:
    """Near 1 where abs(x) is below `level`, near 0 above; only +, * and / so that every backend agrees."""
    ratio = (x * (1.0 / level)) ** 2
    return 1.0 / (1.0 + ratio * ratio)


def _measured(frames: Tensor, of: SceneMap) -> Tensor:
    """The map of pictures ``(N, 2, H, W)``."""
    wide = pad(frames, (1, 1, 1, 1), mode="replicate")
    left, right = wide[..., 1:-1, :-2], wide[..., 1:-1, 2:]
    above, below = wide[..., :-2, 1:-1], wide[..., 2:, 1:-1]
    match of:
        case "gradient":
            return torch.sqrt((right - frames) ** 2 + (below - frames) ** 2)
        case "detail":
            return 0.5 + frames - ((left + right) + (above + below)) / 4
        case "difference":
            change = 0.5 + (frames[:, 1:] - frames[:, :1]) / 2
            return torch.cat([change, change], dim=1)
        case "luma":
            return frames


class FilterBank(nn.Module):
    """Fixed quality-aware features of luma pairs.

    Input ``(N, 2, H, W)``: luma in 0..1 of a frame and of the next one; H, W >= 96. Output: a
    tuple of stage maps ``(N, C_i, H_i, W_i)``: four scales, then DCT bands, then grid phases.
    There is nothing to train; the constants are buffers so that export needs no special case.
    `of` is the map that is measured; see `vqafast.ops.scene_statistics`.
    """

    stage_channels = (*(SCALE_CHANNELS,) * SCALES, 2 * DCT_BANDS, GRID)

    gauss: Tensor
    dct: Tensor
    bands: Tensor
    phase: Tensor

    def __init__(self, of: SceneMap = "luma") -> None:
        super().__init__()
        self.of = of
        dct, bands = _dct_filters()
        self.register_buffer("gauss", _gaussian())
        self.register_buffer("dct", dct)
        self.register_buffer("bands", bands)
        self.register_buffer("phase", torch.eye(GRID)[:, None, None, :])

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Stage maps of `frames`; see the class for shapes."""
        # centred grey levels: smaller squares, so less cancellation in the variance
        levels = _measured(frames, self.of) * 255.0 - 127.5
        now = levels[:, :1]
        change = levels[:, 1:] - now
        stages = []
        x, d = now, change
        for scale in range(SCALES):
            if scale:
                x, d = avg_pool2d(x, 2), avg_pool2d(d, 2)
            stages.append(self._scale(x, d))
        return (*stages, self._dct_stage(now), self._grid_stage(now))

    def _blur(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        rows = self.gauss.view(1, 1, TAPS, 1).expand(channels, 1, TAPS, 1)
        columns = self.gauss.view(1, 1, 1, TAPS).expand(channels, 1, 1, TAPS)
        return conv2d(conv2d(x, rows, groups=channels), columns, groups=channels)

    def _scale(self, x: Tensor, d: Tensor) -> Tensor:
        """The maps of one scale, all on the valid region that neighbour products leave."""
        rim = TAPS // 2
        blurred = self._blur(torch.cat([x, x * x], dim=1))
        mean, square = blurred[:, :1], blurred[:, 1:]
        deviation = torch.sqrt(torch.clamp(square - mean * mean, min=0.0) + 1e-3)
        inner = x[:, :, rim:-rim, rim:-rim]
        mscn = (inner - mean) / (deviation + 1.0)
        core = mscn[:, :, 1:-1, 1:-1]
        local = deviation[:, :, 1:-1, 1:-1]
        right, down = mscn[:, :, 1:-1, 2:], mscn[:, :, 2:, 1:-1]
        diagonal, anti = mscn[:, :, 2:, 2:], mscn[:, :, 2:, :-2]
        crop = rim + 1
        middle = x[:, :, crop:-crop, crop:-crop]
        across = x[:, :, crop:-crop, crop + 1 : x.shape[3] - crop + 1] - middle
        along = x[:, :, crop + 1 : x.shape[2] - crop + 1, crop:-crop] - middle
        gradient = across.abs() + along.abs()
        moved = d[:, :, crop:-crop, crop:-crop].abs()
        maps = [
            gradient,
            local,
            torch.sqrt(local),
            core.abs(),
            core * core,
            core * right,
            core * down,
            core * (diagonal + anti),
            *(_share_below(local, level) for level in FLAT_LEVELS),
            _share_below(gradient, EDGE_LEVEL),
            moved,
            torch.sqrt(moved),
        ]
        return torch.cat(maps, dim=1)

    def _dct_stage(self, x: Tensor) -> Tensor:
        """Mean magnitude and share of near-zero coefficients of each 8x8 DCT band."""
        coefficients = conv2d(x, self.dct, stride=8)
        zero = _share_below(coefficients, ZERO_LEVEL)
        return torch.cat([conv2d(coefficients.abs(), self.bands), conv2d(zero, self.bands)], dim=1)

    def _grid_stage(self, x: Tensor) -> Tensor:
        """Step across each column and row boundary by its phase on a 16-pixel grid.

        Blocks start at multiples of 8 of the coded picture and crops at multiples of 16, so
        that phase 7 and 15 hold the boundaries of 8x8 blocks. The step is measured against the
        slope on both sides, else every texture would count.
        """
        return self._phases(x) + self._phases(x.transpose(2, 3)).transpose(2, 3)

    def _phases(self, x: Tensor) -> Tensor:
        steps = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs()
        excess = steps[:, :, :, 1:-1] - 0.5 * (steps[:, :, :, :-2] + steps[:, :, :, 2:])
        # excess[k] is the step between pixels k + 1 and k + 2
        height = (x.shape[2] - 3) // GRID * GRID
        tall = avg_pool2d(excess[:, :, :height], (GRID, 1))
        return conv2d(tall, self.phase, stride=(1, GRID))
