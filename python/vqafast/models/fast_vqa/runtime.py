"""Clip scores with an exported network of FAST-VQA's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Shapes

from ..graph_runtime import RunsRuntime
from .fragments import fragments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.video.source import Sampled

    from .spec import FastVqaSpec, FragmentView

Float32 = NDArray[np.float32]


class FastVqaRuntime(RunsRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. `batch` is not used: a call is one clip."""

    spec: FastVqaSpec

    def _load(self) -> None:
        self._network = self.backbone("network", input_shapes(self.spec.view))
        self._target = self.target()

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Any:
        """Fragments ``(F, 3, S, S)`` of one run of F frames; its frames are not needed afterwards."""
        self.check_size(sampled.frames[0].width, sampled.frames[0].height)
        return fragments(
            sampled,
            self.spec.view,
            self.spec.sampling.burst,
            draw=draw,
            seed=self._seed,
            threads=self.threads,
            target=self._target,
        )

    def quality_features(self, views: Sequence[Any]) -> Float32:
        """Scores ``(n, 1)`` of the n runs of one clip.

        A clip that lacks runs, because frames of them were damaged, goes on from its first run again.
        """
        arrays = self.arrays
        runs = self.whole_clip(views)
        with arrays.work():
            clip = arrays.packed(arrays.concatenate(runs).swapaxes(0, 1)[None])
            return self.by_run(arrays.host(self._network.run({"clips": clip})["q"]), len(views))


def input_shapes(view: FragmentView) -> dict[str, Shapes]:
    """Of network.onnx: one clip, always of the same size."""
    clip = (1, 3, view.frames, view.side, view.side)
    return {"clips": Shapes(clip, clip, clip)}
