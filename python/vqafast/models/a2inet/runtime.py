"""Frame scores with an exported A2INet: vqafast.ops around its graphs, and no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.errors import InvalidArgument, ModelError
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES

from ..branch import Branch, GraphBranch, StatisticsBranch
from ..graph_runtime import GraphRuntime
from ..views import STATISTICS_SIDE, Target, backbone_shapes, quality_view, semantic_view
from .head_runtime import HeadRuntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.video.source import Sampled

    from ..spec import A2INetSpec

Float32 = NDArray[np.float32]


class A2INetRuntime(GraphRuntime):
    """One loaded model.

    Not for two threads at once, except that one may ingest while another does the rest.

    Parameters
    ----------
    spec : A2INetSpec
        From `vqafast.models.registry.load`.
    engine : str
        One of `vqafast.engines.ENGINES`.
    threads : int
        CPU threads; 0 lets the libraries decide.
    precision : {"f32", "f16", "bf16", "int8"}
        Of the two backbones. The head always runs in f32: it is small, and hysteresis pooling
        amplifies rounding where frames are near ties.
    seed : int
        Of the patch positions for draws above 0.
    device : str
        ``"cpu"`` or ``"cuda:N"``: where views are made, backbones and head run.
    batch : int
        Samples in a call of the backbones, for engines that want always the same shape.

    Attributes
    ----------
    window : int or None
        Samples that `frame_scores` expects at once, the last window may be shorter; None: all.
    whole_windows : bool
        True when `semantic_features` must be given exactly one window, in order, because the
        semantic backbone convolves over time; otherwise any number of samples in any grouping.
    static_shapes : bool
        True when batches are padded to one size, so that a view's features do not depend on the views
        beside it.
    """

    spec: A2INetSpec

    def _load(self) -> None:
        spec, batch, threads = self.spec, self._batch, self.threads
        self.whole_windows = spec.semantic.temporal == "window"
        if spec.bitstream is not None:
            unknown = sorted(set(spec.bitstream.features) - set(BITSTREAM_FEATURES))
            if unknown:
                raise ModelError(
                    f"model {spec.name}: bitstream features must be among {list(BITSTREAM_FEATURES)}, "
                    f"got {unknown}"
                )
        dims = spec.picture_dims

        def branch(name: str, dim: int, *, in_order: bool) -> GraphBranch:
            graph = self.backbone(name, backbone_shapes(spec, name, batch))
            return GraphBranch(graph, dim, name=spec.name, in_order=in_order, batch=batch, threads=threads)

        self._semantic = branch("semantic", dims[1], in_order=self.whole_windows)
        self._semantic_target = self.target()
        self._quality: Branch
        if spec.quality.features == "graph":
            self._quality = branch("quality", dims[0], in_order=False)
            self._quality_target = self._semantic_target
            self.min_side = 1
        else:
            self._quality = StatisticsBranch(spec.quality.maps, self.arrays, threads)
            self._quality_target = Target(self.arrays)
            self.min_side = STATISTICS_SIDE
        align = self.head("align") if spec.head.interaction == "cagi" else None
        self._head = HeadRuntime(spec, align, self.head("temporal"), threads)

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Any:
        """Patches ``(P, C, h, w)`` of one sample; its frames are not needed afterwards."""
        # The size may have changed since the video was opened.
        self.check_size(sampled.frames[0].width, sampled.frames[0].height)
        return quality_view(
            sampled.frames,
            self.spec.quality,
            draw=draw,
            seed=self._seed,
            threads=self.threads,
            target=self._quality_target,
        )

    def ingest_semantic(self, sampled: Sampled) -> Any:
        """Small picture ``(1, C, h, w)`` of one sample, the same for every draw."""
        return semantic_view(
            sampled.frames[0], self.spec.semantic, threads=self.threads, target=self._semantic_target
        )

    def quality_features(self, views: Sequence[Any]) -> Float32:
        """Quality backbone and spatial pooling (paper, section 3.1).

        Parameters
        ----------
        views : sequence
            n results of `ingest_quality`; the picture may change size between them.

        Returns
        -------
        ndarray
            ``(n, Dq)`` float32: per stage mean then standard deviation, averaged over patches.
        """
        _check_some("quality_features", views)
        with self.arrays.work():
            return self._quality.features(views)

    def semantic_features(self, views: Sequence[Any]) -> Float32:
        """Semantic backbone and spatial pooling: n results of `ingest_semantic` to ``(n, Ds)``."""
        _check_some("semantic_features", views)
        with self.arrays.work():
            return self._semantic.features(views)

    def frame_scores(self, quality: Float32, semantic: Float32, constant: Float32 | None = None) -> Float32:
        """Mean of `member_scores` over the heads: ``(T,)``."""
        scores = self.member_scores(quality, semantic, constant)
        mean: Float32 = scores.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def member_scores(
        self, quality: Float32, semantic: Float32 | None, constant: Float32 | None = None
    ) -> Float32:
        """Run the heads on one window.

        T >= 1; samples of one window see each other, windows do not.

        Parameters
        ----------
        quality, semantic : ndarray
            ``(T, Dq)``, ``(T, Ds)`` float32, from `quality_features` and `semantic_features`.
        constant : ndarray, optional
            ``(F,)`` values of the bitstream features that the model asks for, in its order.

        Returns
        -------
        ndarray
            Raw frame scores ``(K, T)`` float32 of the K heads.
        """
        with self.arrays.work():
            assert semantic is not None
            return self._head.member_scores(quality, semantic, constant)


def _check_some(who: str, views: Sequence[Any]) -> None:
    if not views:
        raise InvalidArgument(f"{who}: views must not be empty")
