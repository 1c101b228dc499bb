"""Clip scores and maps with an exported KVQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Shapes
from vqafast.errors import ModelError

from ..graph_runtime import RunsRuntime
from ..readout import Maps, Readout
from ..views import square_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.video.source import Sampled

    from ..views import Target
    from .spec import KvqSpec, ResizedView

Float32 = NDArray[np.float32]


class KvqRuntime(RunsRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. `batch` is not used: a call is one clip.

    There are no patches, so every draw is alike.
    """

    spec: KvqSpec

    def _load(self) -> None:
        self._network = self.backbone("network", input_shapes(self.spec.view))
        self._target = self.target()
        self._grid: tuple[int, ...] = ()

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Any:
        """Pictures ``(F, 3, side, side)`` of the F frames of a clip."""
        del draw
        self.check_size(sampled.frames[0].width, sampled.frames[0].height)
        return resized(sampled, self.spec.view, threads=self.threads, target=self._target)

    def quality_features(self, views: Sequence[Any]) -> Float32:
        """Score of one clip, then quality and saliency of its regions: ``(1, 1 + 2 t h w)``."""
        arrays = self.arrays
        (pictures,) = self.whole_clip(views)
        with arrays.work():
            out = self._network.run({"clips": arrays.packed(pictures.swapaxes(0, 1)[None])})
            quality, saliency = (arrays.host(out[name]) for name in ("quality", "saliency"))
        if quality.ndim != 4 or quality.shape != saliency.shape or len(quality) != 1:
            raise ModelError(
                f"model {self.spec.name}: network.onnx must give two maps (1, t, h, w), got {quality.shape} "
                f"and {saliency.shape}"
            )
        self._grid = quality.shape[1:]
        score = np.sum(quality * saliency, dtype=np.float64)
        row = np.concatenate([[score], quality.ravel(), saliency.ravel()])
        if not np.isfinite(row).all():
            raise ModelError(f"model {self.spec.name}: network.onnx must give finite maps")
        return row[None].astype(np.float32)

    def readout(self, quality: Float32, semantic: Float32 | None) -> Readout:
        """Both maps of the clip."""
        del semantic
        local, saliency = np.split(quality[:, 1:], 2, axis=1)
        shape = (len(quality), *self._grid)
        return Readout(maps=Maps(local.reshape(shape), saliency.reshape(shape)))


def resized(sampled: Sampled, view: ResizedView, *, threads: int, target: Target) -> Any:
    """Pictures ``(F, 3, side, side)``; a clip that the end cuts short goes on from its first frame again."""
    made = [square_view(f, view, threads=threads, target=target) for f in sampled.frames[: view.frames]]
    return target.arrays.concatenate([made[i % len(made)] for i in range(view.frames)])


def input_shapes(view: ResizedView) -> dict[str, Shapes]:
    """Of network.onnx: one clip, always of the same size."""
    clip = (1, 3, view.frames, view.side, view.side)
    return {"clips": Shapes(clip, clip, clip)}
