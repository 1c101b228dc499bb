"""What the runtimes of all families share: engines, arrays, and the frames where the kernels read them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.engines import HEAD_ENGINES, Engine, create_engine
from vqafast.errors import InvalidArgument, ModelError, TooSmall, Unsupported
from vqafast.video.source import Sampled

from .views import Target, selector_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from vqafast.engines import Shapes
    from vqafast.engines.arrays import Arrays
    from vqafast.video.sampling import Selector

    from .readout import Readout
    from .spec import ModelSpec


class GraphRuntime:
    """One loaded model: a backbone at least, then heads.

    Parameters
    ----------
    spec, engine, threads, precision, seed, device, batch
        See `A2INetRuntime`.

    Attributes
    ----------
    window : int or None
        Samples that the head expects at once, the last window may be shorter; None: all.
    min_side : int
        Pixels a side that a picture must have at least.
    repeats : bool
        True when a sample that the end of the video cuts short goes on from its first frame again.
    engine : str
        Library and version of the first backbone's engine.
    arrays : Arrays
        Where views are.
    static_shapes : bool
        True when batches are padded to one size, so that a view's features do not depend on the views
        beside it.
    """

    min_side = 1
    repeats = False

    def __init__(
        self,
        spec: ModelSpec,
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
        self._engine = engine
        self._device = device
        self._seed = seed
        self._batch = batch
        self._engines: list[Engine] = []
        self._load()

    def _load(self) -> None:
        """Compile the graphs; everything that the caller asked for is set by then."""
        raise NotImplementedError

    def backbone(self, name: str, shapes: Mapping[str, Shapes]) -> Engine:
        """Compile ``<name>.onnx``, or its variant for int8, in the precision that was asked for."""
        suffix = ".int8" if self.precision == "int8" else ""
        if suffix and f"{name}{suffix}.onnx" not in self.spec.files:
            raise Unsupported(
                f"model {self.spec.name} has no graphs calibrated for int8; use precision f32 or bf16"
            )
        made = create_engine(
            self._engine,
            self.spec.file(f"{name}{suffix}.onnx"),
            threads=self.threads,
            precision=self.precision,
            device=self._device,
            shapes=shapes,
        )
        self._engines.append(made)
        return made

    def head(self, name: str) -> Engine:
        """Compile ``<name>.onnx`` in f32: it is small, and pooling amplifies rounding."""
        graph = self.spec.file(f"{name}.onnx")
        kind = HEAD_ENGINES[self._engine]
        self._engines.append(create_engine(kind, graph, threads=self.threads, device=self._device))
        return self._engines[-1]

    @property
    def engine(self) -> str:
        """See above."""
        return self._engines[0].name

    @property
    def arrays(self) -> Arrays:
        """See above."""
        return self._engines[0].arrays

    @property
    def static_shapes(self) -> bool:
        """See above."""
        return self._engines[0].static_shapes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the engines did in another way than they should, so far."""
        return tuple(dict.fromkeys(note for engine in self._engines for note in engine.notes))

    def target(self) -> Target:
        """Where views for the first backbone are made, and of which type."""
        rough = self._engines[0].precision == "f16"
        return Target(self.arrays, "float16" if rough else "float32")

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

    def readout(self, quality: NDArray[np.float32], semantic: NDArray[np.float32] | None) -> Readout | None:
        """Say what the features of a window tell beside its score; None for most models."""
        del quality, semantic
        return None

    @contextlib.contextmanager
    def reading(self, sampled: Sampled) -> Iterator[Sampled]:
        """Give the frames where the kernels of this device can read them.

        What is ingested inside is complete at the end, and the decoder may have its pictures back.
        """
        arrays = self.arrays
        with arrays.work(decoded=True):
            frames = tuple(replace(f, planes=arrays.planes(f.planes)) for f in sampled.frames)
            yield Sampled(sampled.k, frames)


class OneViewRuntime(GraphRuntime):
    """A model of one view and one backbone: there is no semantic one beside it."""

    def ingest_semantic(self, sampled: Sampled) -> None:
        """None: there is one view."""
        del sampled

    def semantic_features(self, views: Sequence[Any]) -> NDArray[np.float32]:
        """Raise: there are none."""
        raise InvalidArgument(f"model {self.spec.name} has no semantic view, got {len(views)}")


class RunsRuntime(OneViewRuntime):
    """A network over clips: a sample is a run of frames, a window of samples is a clip.

    Its features are scores already.
    """

    whole_windows = True
    repeats = True
    # A fragment must lie in the picture once that is enlarged, and enlarging 32 pixels to 224 is enough.
    min_side = 32

    def whole_clip(self, views: Sequence[Any]) -> list[Any]:
        """All runs of a clip: one that lacks runs goes on from its first run again.

        Raises
        ------
        InvalidArgument
            When there is none, or more than belong to a clip.
        """
        window = self.spec.sampling.window or 1
        if not 1 <= len(views) <= window:
            raise InvalidArgument(
                f"quality_features: views must be the 1 to {window} runs of a clip, got {len(views)}"
            )
        return [views[i % len(views)] for i in range(window)]

    def by_run(self, by_time: NDArray[np.float32], runs: int) -> NDArray[np.float32]:
        """Scores ``(runs, 1)`` of a clip's first runs, from scores ``(1, n * window)`` over its time."""
        window = self.spec.sampling.window or 1
        good = by_time.ndim == 2 and len(by_time) == 1 and by_time.shape[1] % window == 0
        if not good or not np.isfinite(by_time).all():
            raise ModelError(
                f"model {self.spec.name}: network.onnx must give finite scores (1, n * {window}), "
                f"got {by_time.shape}"
            )
        means = by_time.reshape(window, -1).mean(axis=1, dtype=np.float64).astype(np.float32)
        first: NDArray[np.float32] = means[:runs, None]
        return first

    def member_scores(
        self,
        quality: NDArray[np.float32],
        semantic: NDArray[np.float32] | None = None,
        constant: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Raw scores ``(1, T)`` of the runs of one clip: what `quality_features` gave."""
        del semantic, constant
        return np.ascontiguousarray(quality[:, :1].T)
