"""Frame scores with an exported A2INet: vqafast.ops around its graphs, and no torch."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import HEAD_ENGINES, Engine, create_engine
from vqafast.errors import InvalidArgument, ModelError, TooSmall, Unsupported
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES
from vqafast.video.source import Sampled

from .branch import Branch, GraphBranch, StatisticsBranch
from .head_runtime import HeadRuntime
from .views import STATISTICS_SIDE, Target, backbone_shapes, quality_view, selector_of, semantic_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vqafast.video.sampling import Selector

    from ..spec import A2INetSpec

Float32 = NDArray[np.float32]


class A2INetRuntime:
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

    def __init__(
        self,
        spec: A2INetSpec,
        engine: str = "openvino",
        threads: int = 0,
        precision: str = "f32",
        seed: int = 0,
        *,
        device: str = "cpu",
        batch: int = 8,
    ) -> None:
        self.spec = spec
        self.threads = threads
        self.precision = precision
        self.window = spec.sampling.window
        self.whole_windows = spec.semantic.temporal == "window"
        self._seed = seed
        if spec.bitstream is not None:
            unknown = sorted(set(spec.bitstream.features) - set(BITSTREAM_FEATURES))
            if unknown:
                raise ModelError(
                    f"model {spec.name}: bitstream features must be among {list(BITSTREAM_FEATURES)}, "
                    f"got {unknown}"
                )
        suffix = ".int8" if precision == "int8" else ""
        if suffix and f"semantic{suffix}.onnx" not in spec.files:
            raise Unsupported(
                f"model {spec.name} has no graphs calibrated for int8; use precision f32 or bf16"
            )

        self._engines: list[Engine] = []

        def backbone(name: str) -> Engine:
            made = create_engine(
                engine,
                spec.file(f"{name}{suffix}.onnx"),
                threads=threads,
                precision=precision,
                device=device,
                shapes=backbone_shapes(spec, name, batch),
            )
            self._engines.append(made)
            return made

        def head(name: str) -> Engine:
            graph = spec.file(f"{name}.onnx")
            self._engines.append(create_engine(HEAD_ENGINES[engine], graph, threads=threads, device=device))
            return self._engines[-1]

        dims = spec.picture_dims
        semantic = backbone("semantic")
        self.arrays = semantic.arrays
        rough = "float16" if semantic.precision == "f16" else "float32"
        self._semantic_target = Target(self.arrays, rough)
        self._quality: Branch

        def branch(engine: Engine, dim: int, *, in_order: bool) -> GraphBranch:
            return GraphBranch(engine, dim, name=spec.name, in_order=in_order, batch=batch, threads=threads)

        if spec.quality.features == "graph":
            self._quality = branch(backbone("quality"), dims[0], in_order=False)
            self._quality_target = self._semantic_target
            self.min_side = 1
        else:
            self._quality = StatisticsBranch(spec.quality.maps, self.arrays, threads)
            self._quality_target = Target(self.arrays)
            self.min_side = STATISTICS_SIDE
        self._semantic = branch(semantic, dims[1], in_order=self.whole_windows)
        align = head("align") if spec.head.interaction == "cagi" else None
        self._head = HeadRuntime(spec, align, head("temporal"), threads)
        self.engine = semantic.name
        self.static_shapes = semantic.static_shapes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the engines did in another way than they should, so far."""
        return tuple(dict.fromkeys(note for engine in self._engines for note in engine.notes))

    def selector(self) -> Selector:
        """Make the rule that chooses the samples this model scores."""
        return selector_of(self.spec.sampling)

    def check_size(self, width: int, height: int, path: str | None = None) -> None:
        """Refuse pictures below `min_side` with `TooSmall`."""
        if min(width, height) < self.min_side:
            raise TooSmall(
                f"{path or 'video'}: model {self.spec.name} needs pictures of at least "
                f"{self.min_side} pixels a side, got {width}x{height}",
                path=path,
            )

    @contextlib.contextmanager
    def reading(self, sampled: Sampled) -> Iterator[Sampled]:
        """Give the frames where the kernels of this device can read them.

        What is ingested inside is complete at the end, and the decoder may have its pictures back.
        """
        arrays = self.arrays
        with arrays.work(decoded=True):
            frames = tuple(replace(f, planes=arrays.planes(f.planes)) for f in sampled.frames)
            yield Sampled(sampled.k, frames)

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

    def member_scores(self, quality: Float32, semantic: Float32, constant: Float32 | None = None) -> Float32:
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
            return self._head.member_scores(quality, semantic, constant)


def _check_some(who: str, views: Sequence[Any]) -> None:
    if not views:
        raise InvalidArgument(f"{who}: views must not be empty")
