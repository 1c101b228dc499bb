"""What the runtimes of all families share: engines, arrays, and the frames where the kernels read them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vqafast.engines import HEAD_ENGINES, Engine, create_engine
from vqafast.errors import InvalidArgument, TooSmall, Unsupported
from vqafast.video.source import Sampled

from .views import Target, selector_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from vqafast.engines import Shapes
    from vqafast.engines.arrays import Arrays
    from vqafast.video.sampling import Selector

    from .spec import ModelSpec


class GraphRuntime:
    """One loaded model: a backbone at least, then heads.

    Parameters
    ----------
    spec, engine, threads, precision, device
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

    def __init__(self, spec: ModelSpec, engine: str, threads: int, precision: str, *, device: str) -> None:
        self.spec = spec
        self.threads = threads
        self.precision = precision
        self.window = spec.sampling.window
        self._engine = engine
        self._device = device
        self._engines: list[Engine] = []

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
