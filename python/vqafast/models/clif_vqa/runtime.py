"""Clip scores with an exported CLiF-VQA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Shapes
from vqafast.errors import InvalidArgument, ModelError

from ..fast_vqa.fragments import fragments
from ..graph_runtime import GraphRuntime
from ..readout import Readout
from .blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vqafast.engines import Engine
    from vqafast.video.source import Sampled

    from .spec import ClifVqaSpec

Float32 = NDArray[np.float32]


class ClifVqaRuntime(GraphRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. `batch` is not used: a call is one clip."""

    spec: ClifVqaSpec
    whole_windows = True
    repeats = True
    # As for FAST-VQA's fragments.
    min_side = 32

    def _load(self) -> None:
        shapes = input_shapes(self.spec)
        self._spatial = self.backbone("spatial", shapes["spatial"])
        self._semantic = self.backbone("semantic", shapes["semantic"])
        self._head = self.head("head")
        self._target = self.target()

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Any:
        """Fragments ``(F, 3, S, S)`` of the F frames of a clip."""
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

    def ingest_semantic(self, sampled: Sampled) -> Any:
        """Blocks ``(looks * grid^2, 3, side, side)`` of a clip; the same for every draw."""
        frames = self.spec.sampling.burst
        return blocks(sampled, self.spec.blocks, frames, threads=self.threads, target=self._target)

    def quality_features(self, views: Sequence[Any]) -> Float32:
        """Spatial features ``(1, tokens)`` of one clip."""
        arrays = self.arrays
        with arrays.work():
            clip = arrays.packed(_only(views).swapaxes(0, 1)[None])
            return self._features(self._spatial, {"clips": clip}, 1)

    def semantic_features(self, views: Sequence[Any]) -> Float32:
        """Semantics ``(1, looks * 2r)`` of one clip: of each frame, mean and largest of the shares."""
        arrays, view = self.arrays, self.spec.blocks
        images = _only(views)
        with arrays.work():
            shares = self._features(self._semantic, {"images": images}, len(images))
        # Eqs. 4 to 7, in NumPy: a few hundred numbers.
        by_frame = shares.reshape(view.looks, -1, shares.shape[1])
        mean = by_frame.mean(axis=1, dtype=np.float64).astype(np.float32)
        both = np.concatenate([mean, by_frame.max(axis=1)], axis=1)
        return np.ascontiguousarray(both.reshape(1, -1))

    def member_scores(
        self, quality: Float32, semantic: Float32 | None = None, constant: Float32 | None = None
    ) -> Float32:
        """Raw score ``(1, 1)`` of one clip."""
        del constant
        if semantic is None:
            raise InvalidArgument("member_scores: semantic features must be given, got None")
        arrays = self._head.arrays
        shape = (1, self.spec.blocks.looks, 2 * len(self.spec.descriptions))
        with arrays.work():
            inputs = {
                "semantics": arrays.load(semantic.reshape(shape)),
                "spatial": arrays.load(np.ascontiguousarray(quality)),
            }
            return self._features(self._head, inputs, 1).reshape(1, 1)

    def readout(self, quality: Float32, semantic: Float32 | None) -> Readout:
        """Share of each description, mean over blocks and frames."""
        del quality
        assert semantic is not None
        count = len(self.spec.descriptions)
        means = semantic.reshape(len(semantic), self.spec.blocks.looks, 2 * count)[:, :, :count]
        return Readout(attributes=means.mean(axis=1, dtype=np.float64).astype(np.float32))

    def _features(self, engine: Engine, inputs: Mapping[str, Any], rows: int) -> Float32:
        arrays = engine.arrays
        out: Float32 = np.array(arrays.host(engine.run(inputs)[engine.outputs[0]]), dtype=np.float32)
        if len(out) != rows or not np.isfinite(out).all():
            raise ModelError(
                f"model {self.spec.name}: {engine.outputs[0]} must be finite and have {rows} rows, "
                f"got {out.shape}"
            )
        return out


def _only(views: Sequence[Any]) -> Any:
    if len(views) != 1:
        raise InvalidArgument(f"features: views must be one clip, got {len(views)}")
    return views[0]


def input_shapes(spec: ClifVqaSpec) -> dict[str, dict[str, Shapes]]:
    """Of both backbones, always of the same size."""
    clip = (1, 3, spec.view.frames, spec.view.side, spec.view.side)
    blocks_shape = (spec.blocks.looks * spec.blocks.grid**2, 3, spec.blocks.side, spec.blocks.side)
    return {
        "spatial": {"clips": Shapes(clip, clip, clip)},
        "semantic": {"images": Shapes(blocks_shape, blocks_shape, blocks_shape)},
    }
