"""Frame scores with an exported A2INet: vqafast.ops around its graphs, and no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Engine, create_engine
from vqafast.errors import InvalidArgument, ModelError, TooSmall, Unsupported
from vqafast.ops import cgin, moment_pool
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES

from .views import STATISTICS_SIDE, patch_statistics, quality_view, selector_of, semantic_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.ops.cgin import Mode
    from vqafast.video.sampling import Selector
    from vqafast.video.source import Sampled

    from ..spec import ModelSpec

Float32 = NDArray[np.float32]

# Stage maps of a ResNet take about 1.5 kB per input pixel; this bounds one run to about 6 GB at
# worst and 0.1 GB for compact backbones, and is far above where larger batches stop paying.
_MAX_PIXELS = 1 << 22


class A2INetRuntime:
    """One loaded model.

    Not for two threads at once, except that one may ingest while another does the rest.

    Parameters
    ----------
    spec : ModelSpec
        From `vqafast.models.registry.load`.
    engine : str
        One of `vqafast.engines.ENGINES`.
    threads : int
        CPU threads; 0 lets the libraries decide.
    precision : {"f32", "bf16", "int8"}
        Of the two backbones. The head always runs in f32: it is small, and hysteresis pooling
        amplifies rounding where frames are near ties.
    seed : int
        Of the patch positions for draws above 0.

    Attributes
    ----------
    window : int or None
        Samples that `frame_scores` expects at once, the last window may be shorter; None: all.
    whole_windows : bool
        True when `semantic_features` must be given exactly one window, in order, because the
        semantic backbone convolves over time; otherwise any number of samples in any grouping.
    """

    def __init__(
        self,
        spec: ModelSpec,
        engine: str = "openvino",
        threads: int = 0,
        precision: str = "f32",
        seed: int = 0,
    ) -> None:
        self.spec = spec
        self.threads = threads
        self.precision = precision
        self.window = spec.sampling.window
        self.whole_windows = spec.semantic.temporal == "window"
        self._seed = seed

        def compile_(name: str, precision: str) -> Engine:
            path = spec.file(f"{name}.onnx")
            return create_engine(engine, path, threads=threads, precision=precision)

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
        graph = spec.quality.features == "graph"
        self._quality = compile_(f"quality{suffix}", precision) if graph else None
        self._semantic = compile_(f"semantic{suffix}", precision)
        self._align = compile_("align", "f32") if spec.head.interaction == "cagi" else None
        self._temporal = compile_("temporal", "f32")
        self.engine = self._semantic.name

    def selector(self) -> Selector:
        """Make the rule that chooses the samples this model scores."""
        return selector_of(self.spec.sampling)

    @property
    def min_side(self) -> int:
        """Pixels a side that a picture must have at least."""
        return 1 if self._quality is not None else STATISTICS_SIDE

    def check_size(self, width: int, height: int, path: str | None = None) -> None:
        """Refuse pictures below `min_side` with `TooSmall`."""
        if min(width, height) < self.min_side:
            raise TooSmall(
                f"{path or 'video'}: model {self.spec.name} needs pictures of at least "
                f"{self.min_side} pixels a side, got {width}x{height}",
                path=path,
            )

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> Float32:
        """Patches ``(P, C, h, w)`` float32 of one sample; its frames are not needed afterwards."""
        # The size may have changed since the video was opened.
        self.check_size(sampled.frames[0].width, sampled.frames[0].height)
        return quality_view(
            sampled.frames, self.spec.quality, draw=draw, seed=self._seed, threads=self.threads
        )

    def ingest_semantic(self, sampled: Sampled) -> Float32:
        """Small picture ``(1, C, h, w)`` float32 of one sample, the same for every draw."""
        return semantic_view(sampled.frames[0], self.spec.semantic, threads=self.threads)

    def quality_features(self, views: Sequence[Float32]) -> Float32:
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
        dim = self.spec.picture_dims[0]
        if self._quality is not None:
            return self._branch(self._quality, views, dim, False)
        out = np.empty((len(views), dim), dtype=np.float32)
        for row, patches in zip(out, views, strict=True):
            row[:] = patch_statistics(patches, self.spec.quality.maps, threads=self.threads)
        return out

    def semantic_features(self, views: Sequence[Float32]) -> Float32:
        """Semantic backbone and spatial pooling: n results of `ingest_semantic` to ``(n, Ds)``."""
        _check_some("semantic_features", views)
        return self._branch(self._semantic, views, self.spec.picture_dims[1], self.whole_windows)

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
        view = self.spec.bitstream
        names = () if view is None else view.features
        given = 0 if constant is None else constant.size
        if given != len(names):
            raise InvalidArgument(
                f"frame_scores: model {self.spec.name} needs {len(names)} bitstream features, got {given}"
            )
        steps = quality.shape[0]
        for name, array, dim in zip(
            ("quality", "semantic"), (quality, semantic), self.spec.picture_dims, strict=True
        ):
            if array.shape != (steps, dim) or steps < 1:
                raise InvalidArgument(
                    f"frame_scores: {name} must be (T, {dim}) with the same T >= 1, got {array.shape}"
                )
        if constant is not None and names:
            rows = np.broadcast_to(constant, (steps, given))
            quality, semantic = (np.concatenate([x, rows], axis=1) for x in (quality, semantic))
        quality = np.ascontiguousarray(quality[None], dtype=np.float32)
        fused = self._fuse(quality, np.ascontiguousarray(semantic[None], dtype=np.float32))
        # Kernel regressions beside the heads read the features themselves.
        inputs = {"fused": fused, "quality": quality}
        scores = self._temporal.run({name: inputs[name] for name in self._temporal.inputs})["q"]
        if scores.shape != (self.spec.members, steps) or not np.isfinite(scores).all():
            raise ModelError(
                f"model {self.spec.name}: temporal.onnx must give finite scores "
                f"({self.spec.members}, {steps}), got {scores.shape}"
            )
        return np.array(scores, dtype=np.float32)

    def _branch(self, engine: Engine, views: Sequence[Float32], dim: int, in_order: bool) -> Float32:
        out = np.empty((len(views), dim), dtype=np.float32)
        for indices in _same_size(views, in_order):
            group = [views[i] for i in indices]
            patches = group[0].shape[0]
            frames = group[0] if len(group) == 1 else np.concatenate(group)
            limit = len(frames) if in_order else _batch(frames)
            parts = [self._pooled(engine, frames[i : i + limit], dim) for i in range(0, len(frames), limit)]
            pooled = parts[0] if len(parts) == 1 else np.concatenate(parts)
            out[indices] = pooled.reshape(len(indices), patches, dim).mean(axis=1, dtype=np.float64)
        return out

    def _pooled(self, engine: Engine, frames: Float32, dim: int) -> Float32:
        maps = engine.run({"frames": frames})
        pooled: Float32 = np.concatenate(
            [moment_pool(maps[n], threads=self.threads) for n in engine.outputs], axis=1
        )
        if pooled.shape != (len(frames), dim):
            raise ModelError(
                f"model {self.spec.name}: features must be {(len(frames), dim)}, got {pooled.shape}"
            )
        return pooled

    def _fuse(self, quality: Float32, semantic: Float32) -> Float32:
        if self._align is None:
            return np.concatenate([quality, semantic], axis=2)
        head = self.spec.head
        a = self._align.run({"quality": quality, "semantic": semantic})
        gammas = [a.get(n) for n in ("gamma_x", "theta_x", "gamma_y", "theta_y")]
        fused: Float32 = cgin(
            a["x"], a["y"], *gammas, mode=cast("Mode", head.mode), eps=head.eps, threads=self.threads
        )
        # One-way deformation (table 6): the other feature is kept as it is.
        dim = a["x"].shape[2]
        if head.direction == "s_to_q":
            fused[:, :, :dim] = a["x"]
        elif head.direction == "q_to_s":
            fused[:, :, dim:] = a["y"]
        return fused


def _batch(frames: Float32) -> int:
    pixels: int = frames.shape[2] * frames.shape[3]
    return max(1, _MAX_PIXELS // pixels)


def _check_some(who: str, views: Sequence[Float32]) -> None:
    if not views:
        raise InvalidArgument(f"{who}: views must not be empty")


def _same_size(views: Sequence[Float32], in_order: bool) -> list[list[int]]:
    """Group the indices of views that can share a batch; with `in_order` only neighbours can."""
    groups: list[list[int]] = []
    seen: dict[tuple[int, ...], list[int]] = {}
    for i, view in enumerate(views):
        if in_order and i > 0 and view.shape != views[i - 1].shape:
            seen.clear()
        group = seen.get(view.shape)
        if group is None:
            group = seen[view.shape] = []
            groups.append(group)
        group.append(i)
    return groups
