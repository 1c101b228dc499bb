"""Clip scores with an exported KSVQE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Shapes

from ..graph_runtime import RunsRuntime
from .views import RunViews, clip_inputs, run_views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.video.source import Sampled

    from .spec import KsvqeSpec

Float32 = NDArray[np.float32]


class KsvqeRuntime(RunsRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. `batch` is not used: a call is one clip."""

    spec: KsvqeSpec

    def _load(self) -> None:
        self._network = self.backbone("network", input_shapes(self.spec))
        self._target = self.target()

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> RunViews:
        """Fragments and key frames of one run; its frames are not needed afterwards."""
        spec = self.spec
        first = sampled.frames[0]
        self.check_size(first.width, first.height)
        window = spec.sampling.window or 1
        return run_views(
            sampled, spec.view, spec.keys, window,
            draw=draw, seed=self._seed, threads=self.threads, target=self._target,
        )  # fmt: skip

    def quality_features(self, views: Sequence[RunViews]) -> Float32:
        """Scores ``(n, 1)`` of the n runs of one clip.

        A clip that lacks runs, because frames of them were damaged, goes on from its first run again, with
        fragments and key frames.
        """
        arrays = self.arrays
        runs = self.whole_clip(views)
        with arrays.work():
            clip, keys = clip_inputs(runs, self.spec.view, self.spec.keys, arrays)
            inputs = {"fragments": clip, "frames": keys}
            return self.by_run(arrays.host(self._network.run(inputs)["q"]), len(views))


def input_shapes(spec: KsvqeSpec) -> dict[str, Shapes]:
    """Of network.onnx: one clip, always of the same size."""
    clip = (1, 3, spec.view.frames, spec.view.side, spec.view.side)
    keys = (1, len(spec.keys.frames), 3, spec.keys.side, spec.keys.side)
    return {"fragments": Shapes(clip, clip, clip), "frames": Shapes(keys, keys, keys)}
