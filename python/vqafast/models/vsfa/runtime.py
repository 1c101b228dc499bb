"""Frame scores with an exported VSFA or MDTVSFA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.errors import ModelError

from ..branch import GraphBranch
from ..graph_runtime import OneViewRuntime
from ..input_shapes import picture_shapes
from ..spec import SemanticView
from ..views import semantic_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.engines import Shapes
    from vqafast.video.source import Sampled

    from .spec import VsfaSpec

Float32 = NDArray[np.float32]
# ResNet-50 halves a side five times, and a standard deviation wants more than one pixel.
_MIN_SIDE = 64


class VsfaRuntime(OneViewRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. There are no patches, so every draw is alike."""

    spec: VsfaSpec
    whole_windows = False
    min_side = _MIN_SIDE

    def _load(self) -> None:
        spec = self.spec
        backbone = self.backbone("backbone", input_shapes(self._batch))
        self._branch = GraphBranch(
            backbone,
            spec.view.features,
            name=spec.name,
            in_order=False,
            batch=self._batch,
            threads=self.threads,
            unbiased=spec.view.unbiased,
        )
        self._head = self.head("head")
        self._view = SemanticView(None, "rgb", spec.view.mean, spec.view.std, None)
        self._target = self.target()

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Any:
        """Convert the whole frame: ``(1, 3, h, w)``."""
        del draw
        frame = sampled.frames[0]
        self.check_size(frame.width, frame.height)
        return semantic_view(frame, self._view, threads=self.threads, target=self._target)

    def quality_features(self, views: Sequence[Any]) -> Float32:
        """Backbone and spatial pooling: ``(n, features)``."""
        with self.arrays.work():
            return self._branch.features(views)

    def member_scores(
        self, quality: Float32, semantic: Float32 | None = None, constant: Float32 | None = None
    ) -> Float32:
        """Raw frame qualities ``(1, T)`` of the whole video: the head's GRU runs over all of it."""
        del semantic, constant
        arrays = self._head.arrays
        with arrays.work():
            features = arrays.load(np.ascontiguousarray(quality[None], dtype=np.float32))
            scores = arrays.host(self._head.run({"features": features})["q"])
        if scores.shape != (1, len(quality)) or not np.isfinite(scores).all():
            raise ModelError(
                f"model {self.spec.name}: head.onnx must give finite scores (1, {len(quality)}), "
                f"got {scores.shape}"
            )
        return np.array(scores, dtype=np.float32)


def input_shapes(batch: int) -> dict[str, Shapes]:
    """Of backbone.onnx, for engines that must know them beforehand."""
    return {"frames": picture_shapes(batch, 3, least=_MIN_SIDE)}
