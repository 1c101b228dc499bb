"""The default model in plain PyTorch, as one would write it: what our kernels are compared with.

The same decoder, samples, crops, uploads and streams. Patches are cut out of the luma and go through
`FilterBank`. Whole frames become RGB with tensor expressions, and antialiased interpolation makes of them the
small view of `SceneDescriptors`. The head goes through its exported graphs, operator by operator. No CUDA
graph is used, and no kernel of ours.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from gpu_cases_video import crop_planes
from torch.nn.functional import interpolate

from vqafast.models import registry
from vqafast.models.a2inet import functional
from vqafast.models.a2inet.head_runtime import HeadRuntime
from vqafast.models.a2inet.runtime import A2INetRuntime
from vqafast.models.backbones.filter_bank import FilterBank
from vqafast.models.backbones.scene_descriptors import SceneDescriptors
from vqafast.models.views import patch_crops
from vqafast.ops._yuv import LUMINANCE
from vqafast.video.sampling import fit_short_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vqafast.models.a2inet.runtime import Float32
    from vqafast.models.spec import A2INetSpec
    from vqafast.video.source import Frame, Sampled

Tensor = torch.Tensor


class PlainHead(HeadRuntime):
    """The heads with CGIN as a tensor expression."""

    @torch.inference_mode()
    def _fuse(self, quality: Any, semantic: Any) -> Any:
        if self._align is None:
            return torch.cat([quality, semantic], dim=2)
        head = self._spec.head
        a = self._align.run({"quality": quality, "semantic": semantic})
        gammas = [a.get(name) for name in ("gamma_x", "theta_x", "gamma_y", "theta_y")]
        return functional.cgin_reference(
            a["x"], a["y"], *gammas, mode=head.mode, direction=head.direction, eps=head.eps
        )


class PlainRuntime:
    """A `Runtime` of scoring on `device`."""

    whole_windows = False
    repeats = False

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.spec = cast("A2INetSpec", registry.load(registry.DEFAULT))
        self._model = A2INetRuntime(self.spec, "torch", device=device)
        # Without them torch's engine launches every operator of a graph by itself.
        for engine in self._model._engines:
            engine._graphs = None  # type: ignore[attr-defined]
        head = self._model._head
        self._model._head = PlainHead(self.spec, head._align, head._temporal, head._threads)
        self._arrays = self._model.arrays
        self._banks = [FilterBank(of).to(self.device) for of in self.spec.quality.maps]  # type: ignore[arg-type]
        self._descriptors = SceneDescriptors().to(self.device)
        self.selector = self._model.selector
        self.member_scores = self._model.member_scores
        self.readout = self._model.readout

    @contextmanager
    def reading(self, sampled: Sampled) -> Iterator[Sampled]:
        """Give the frames on the device; what was computed inside is complete at the end."""
        with self._arrays.work(decoded=True), torch.inference_mode():
            frames = tuple(replace(frame, planes=self._loaded(frame)) for frame in sampled.frames)
            yield replace(sampled, frames=frames)

    def _loaded(self, frame: Frame) -> tuple[Tensor, ...]:
        planes = self._arrays.planes(frame.planes)
        # On the CPU they stay arrays, of memory that torch must not write to and would warn of.
        return tuple(torch.from_numpy(p.copy()) if isinstance(p, np.ndarray) else p for p in planes)

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Tensor:
        """Cut the patches out of both frames' luma."""
        frames = sampled.frames
        crops = patch_crops(frames[0], self.spec.quality, draw=draw, seed=0).tolist()
        pair = [
            _expanded(frame, crop_planes(frame.planes[0], crops, 1), 16.0, 219.0).clamp(0, 1)
            for frame in (frames[0], frames[-1])
        ]
        return torch.cat(pair, dim=1)

    def ingest_semantic(self, sampled: Sampled) -> Tensor:
        """Shrink the whole picture."""
        frame = sampled.frames[0]
        width, height = fit_short_side(frame.width, frame.height, self.spec.semantic.short_side or 144)
        small = interpolate(
            _rgb(frame)[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        return small.clamp(0, 1)

    @torch.inference_mode()
    def quality_features(self, views: Sequence[Tensor]) -> Float32:
        """Filter the patches of all views, and pool the maps."""
        rows = []
        with self._arrays.work():
            for joined, count in _joined(views):
                pooled = torch.cat([_moments(bank(joined)) for bank in self._banks], dim=1)
                rows.append(pooled.reshape(count, -1, pooled.shape[1]).mean(dim=1))
            return torch.cat(rows).cpu().numpy()

    @torch.inference_mode()
    def semantic_features(self, views: Sequence[Tensor]) -> Float32:
        """Describe the small pictures of all views."""
        with self._arrays.work():
            rows = [_moments(self._descriptors(joined)) for joined, _ in _joined(views)]
            return torch.cat(rows).cpu().numpy()


def _joined(views: Sequence[Tensor]) -> Iterable[tuple[Tensor, int]]:
    """Views of equal size as one batch, and how many they are."""
    for _, equal in groupby(views, key=lambda view: view.shape):
        group = list(equal)
        yield torch.cat(group), len(group)


def _moments(maps: Sequence[Tensor]) -> Tensor:
    parts = []
    for m in maps:
        deviation, mean = torch.std_mean(m, dim=(2, 3), correction=0)
        parts += [mean, deviation]
    return torch.cat(parts, dim=1)


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
        chroma = _expanded(frame, frame.planes[1].permute(2, 0, 1), 128.0, 224.0)
    else:
        chroma = torch.stack([_expanded(frame, plane, 128.0, 224.0) for plane in frame.planes[1:3]])
    size = (frame.height, frame.width)
    cb, cr = interpolate(chroma[None], size=size, mode="bilinear", align_corners=False)[0]
    kr, kb = LUMINANCE[frame.color.matrix]
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return torch.stack([red, green, blue]).clamp(0, 1)
