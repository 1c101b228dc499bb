"""Clip scores with an exported network of FAST-VQA's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Shapes
from vqafast.errors import InvalidArgument, ModelError

from ..graph_runtime import OneViewRuntime
from .fragments import fragments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.video.source import Sampled

    from .spec import FastVqaSpec, FragmentView

Float32 = NDArray[np.float32]


class FastVqaRuntime(OneViewRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. `batch` is not used: a call is one clip."""

    spec: FastVqaSpec
    whole_windows = True
    repeats = True
    # A patch must lie in the picture once that is enlarged, and enlarging 32 pixels to 224 is enough.
    min_side = 32

    def __init__(
        self,
        spec: FastVqaSpec,
        engine: str = "openvino",
        threads: int = 0,
        precision: str = "f32",
        seed: int = 0,
        *,
        device: str = "cpu",
        batch: int = 8,
    ) -> None:
        del batch
        super().__init__(spec, engine, threads, precision, device=device)
        self._network = self.backbone("network", input_shapes(spec.view))
        self._target = self.target()
        self._seed = seed

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
        arrays, window = self.arrays, self.spec.sampling.window or 1
        if not 1 <= len(views) <= window:
            raise InvalidArgument(
                f"quality_features: views must be the 1 to {window} runs of a clip, got {len(views)}"
            )
        with arrays.work():
            runs = [views[i % len(views)] for i in range(window)]
            clip = arrays.concatenate(runs).swapaxes(0, 1)[None]
            by_time = arrays.host(self._network.run({"clips": arrays.packed(clip)})["q"])
        if by_time.shape[0] != 1 or by_time.shape[1] % window or not np.isfinite(by_time).all():
            raise ModelError(
                f"model {self.spec.name}: network.onnx must give finite scores (1, n * {window}), "
                f"got {by_time.shape}"
            )
        by_run = by_time.reshape(window, -1).mean(axis=1, dtype=np.float64).astype(np.float32)
        scores: Float32 = by_run[: len(views), None]
        return scores

    def member_scores(
        self, quality: Float32, semantic: Float32 | None = None, constant: Float32 | None = None
    ) -> Float32:
        """Raw scores ``(1, T)`` of the runs of one clip: what `quality_features` gave."""
        del semantic, constant
        return np.ascontiguousarray(quality.T)


def input_shapes(view: FragmentView) -> dict[str, Shapes]:
    """Of network.onnx: one clip, always of the same size."""
    clip = (1, 3, view.frames, view.side, view.side)
    return {"clips": Shapes(clip, clip, clip)}
