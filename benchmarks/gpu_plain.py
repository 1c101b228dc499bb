"""The default model in plain PyTorch, as one would write it: what our kernels are compared with.

The same decoder, samples and crops; whole frames become RGB with tensor expressions, patches go through
`FilterBank`, the small view through antialiased interpolation and `SceneDescriptors`, the head through
the exported graphs, operator by operator.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from vqafast.models import registry
from vqafast.models.a2inet.runtime import A2INetRuntime
from vqafast.models.backbones.filter_bank import FilterBank
from vqafast.models.backbones.scene_descriptors import SceneDescriptors
from vqafast.models.views import patch_crops
from vqafast.ops._yuv import LUMINANCE
from vqafast.video.sampling import fit_short_side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vqafast.models.a2inet.runtime import Float32
    from vqafast.video.source import Frame, Sampled

Tensor = torch.Tensor


class PlainRuntime:
    """A `Runtime` of scoring on `device`."""

    whole_windows = False

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.spec = registry.load(registry.DEFAULT)
        self._head = A2INetRuntime(self.spec, "torch", device=device)
        self._banks = [FilterBank(of).to(self.device) for of in self.spec.quality.maps]  # type: ignore[arg-type]
        self._descriptors = SceneDescriptors().to(self.device)
        self.selector = self._head.selector
        self.member_scores = self._head.member_scores
        self.readout = self._head.readout

    @contextmanager
    def reading(self, sampled: Sampled) -> Iterator[Sampled]:
        """Give the frames on the device; what was computed inside is complete at the end."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).wait_stream(torch.cuda.default_stream(self.device))
        frames = tuple(replace(f, planes=tuple(self._loaded(p) for p in f.planes)) for f in sampled.frames)
        with torch.inference_mode():
            yield replace(sampled, frames=frames)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _loaded(self, plane: Any) -> Tensor:
        if isinstance(plane, np.ndarray):
            plane = torch.from_numpy(plane.copy())
        return plane.to(self.device)

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Tensor:
        """Cut the patches out of both frames' luma."""
        frames = sampled.frames
        luma = [_luma(frame) for frame in (frames[0], frames[-1])]
        crops = patch_crops(frames[0], self.spec.quality, draw=draw, seed=0)
        return torch.stack([torch.stack([y[t : t + h, x : x + w] for y in luma]) for x, t, w, h in crops])

    def ingest_semantic(self, sampled: Sampled) -> Tensor:
        """Shrink the whole picture."""
        frame = sampled.frames[0]
        picture = _rgb(frame)
        width, height = fit_short_side(frame.width, frame.height, self.spec.semantic.short_side or 144)
        small = interpolate(
            picture[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        return small.clamp(0, 1)

    @torch.inference_mode()
    def quality_features(self, views: Sequence[Tensor]) -> Float32:
        """Filter each patch, and pool the maps."""
        rows = []
        for patches in views:
            pooled = [_moments(bank(patches)) for bank in self._banks]
            rows.append(torch.cat(pooled, dim=1).mean(dim=0))
        return torch.stack(rows).cpu().numpy()

    @torch.inference_mode()
    def semantic_features(self, views: Sequence[Tensor]) -> Float32:
        """Describe each small picture."""
        return torch.cat([_moments(self._descriptors(view)) for view in views]).cpu().numpy()


def _moments(maps: Sequence[Tensor]) -> Tensor:
    parts = []
    for m in maps:
        deviation, mean = torch.std_mean(m, dim=(2, 3), correction=0)
        parts += [mean, deviation]
    return torch.cat(parts, dim=1)


def _luma(frame: Frame) -> Tensor:
    return _expanded(frame, frame.planes[0], 16.0, 219.0).clamp(0, 1)


def _expanded(frame: Frame, plane: Tensor, low: float, extent: float) -> Tensor:
    layout = frame.layout
    values = plane.to(torch.float32)
    if layout.msb_aligned:
        values = values / 2.0 ** (16 - layout.bit_depth)
    if frame.color.full_range:
        offset = 0.0 if low == 16.0 else 2.0 ** (layout.bit_depth - 1)
        return (values - offset) / (2.0**layout.bit_depth - 1)
    step = 2.0 ** (layout.bit_depth - 8)
    return (values - low * step) / (extent * step)


def _rgb(frame: Frame) -> Tensor:
    luma = _expanded(frame, frame.planes[0], 16.0, 219.0)
    if frame.layout.semi_planar:
        chroma = frame.planes[1].permute(2, 0, 1)
    else:
        chroma = torch.stack(list(frame.planes[1:3]))
    chroma = _expanded(frame, chroma, 128.0, 224.0)
    size = (frame.height, frame.width)
    cb, cr = interpolate(chroma[None], size=size, mode="bilinear", align_corners=False)[0]
    kr, kb = LUMINANCE[frame.color.matrix]
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return torch.stack([red, green, blue]).clamp(0, 1)
