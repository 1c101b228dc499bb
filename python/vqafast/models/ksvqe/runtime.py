"""Clip scores with an exported KSVQE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqafast.engines import Shapes

from ..fast_vqa.fragments import fragments
from ..graph_runtime import RunsRuntime
from ..views import square_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.video.source import Sampled

    from .spec import KsvqeSpec

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RunViews:
    """Of one run of a clip: fragments ``(F, 3, S, S)``, and its key frames ``(n, 3, side, side)``.

    A run without a key frame has its first frame here, for clips that lack the others.
    """

    fragments: Any
    keys: Any

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return int(self.fragments.nbytes) + int(self.keys.nbytes)


class KsvqeRuntime(RunsRuntime):
    """One loaded model; parameters as of `A2INetRuntime`. `batch` is not used: a call is one clip."""

    spec: KsvqeSpec

    def __init__(
        self,
        spec: KsvqeSpec,
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
        self._network = self.backbone("network", input_shapes(spec))
        self._target = self.target()
        self._seed = seed

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> RunViews:
        """Fragments and key frames of one run; its frames are not needed afterwards."""
        spec = self.spec
        first = sampled.frames[0]
        self.check_size(first.width, first.height)
        made = fragments(
            sampled, spec.view, spec.sampling.burst,
            draw=draw, seed=self._seed, threads=self.threads, target=self._target,
        )  # fmt: skip
        return RunViews(made, self._keys(sampled))

    def _keys(self, sampled: Sampled) -> Any:
        spec, arrays = self.spec, self.arrays
        numbers = _numbers(spec, sampled.k % (spec.sampling.window or 1)) or [0]
        frames = [sampled.frames[n % len(sampled.frames)] for n in numbers]
        made = [square_view(f, spec.keys, threads=self.threads, target=self._target) for f in frames]
        return arrays.concatenate(made)

    def quality_features(self, views: Sequence[RunViews]) -> Float32:
        """Scores ``(n, 1)`` of the n runs of one clip.

        A clip that lacks runs, because frames of them were damaged, goes on from its first run again, with
        fragments and key frames.
        """
        arrays = self.arrays
        runs = self.whole_clip(views)
        with arrays.work():
            clip = arrays.concatenate([run.fragments for run in runs]).swapaxes(0, 1)[None]
            pictures = []
            for place, run in enumerate(runs):
                for i, _ in enumerate(_numbers(self.spec, place)):
                    at = i % len(run.keys)
                    pictures.append(run.keys[at : at + 1])
            keys = arrays.concatenate(pictures)[None]
            inputs = {"fragments": arrays.packed(clip), "frames": arrays.packed(keys)}
            return self.by_run(arrays.host(self._network.run(inputs)["q"]), len(views))


def _numbers(spec: KsvqeSpec, run: int) -> list[int]:
    """Key frames of a clip that lie in its run `run`, counted from the run's first frame."""
    begin = run * spec.sampling.burst
    return [n - begin for n in spec.keys.frames if begin <= n < begin + spec.sampling.burst]


def input_shapes(spec: KsvqeSpec) -> dict[str, Shapes]:
    """Of network.onnx: one clip, always of the same size."""
    clip = (1, 3, spec.view.frames, spec.view.side, spec.view.side)
    keys = (1, len(spec.keys.frames), 3, spec.keys.side, spec.keys.side)
    return {"fragments": Shapes(clip, clip, clip), "frames": Shapes(keys, keys, keys)}
