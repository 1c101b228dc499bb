"""From views to features: a backbone with its spatial pooling, or statistics that need no weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vqafast import _core
from vqafast.engines.arrays import HostArrays
from vqafast.errors import ModelError
from vqafast.ops import moment_pool, moment_pool_workspace, scene_statistics

from .views import patch_statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.engines import Engine
    from vqafast.engines.arrays import Arrays
    from vqafast.ops.moment_pool import Layout
    from vqafast.ops.scene_statistics import SceneMap

Float32 = NDArray[np.float32]

# Stage maps of a ResNet take about 1.5 kB per input pixel in f32. On the host this bounds one run to
# about 6 GB at worst and 0.1 GB for compact backbones, and is far above where larger batches stop
# paying; on a device, to 12 GB, or 6 GB in half.
_HOST_PIXELS = 1 << 22
_DEVICE_PIXELS = 1 << 23
_STATISTICS = 176


class Branch(Protocol):
    """Features of views."""

    def features(self, views: Sequence[Any]) -> Float32:
        """Give ``(n, D)`` on the host of n views ``(P, C, h, w)``, averaged over each one's patches."""
        ...


class StatisticsBranch:
    """Scene statistics of each of `maps`, side by side.

    Parameters
    ----------
    maps : sequence of str
        See `vqafast.ops.scene_statistics`.
    arrays : Arrays
        Where the views are.
    threads : int
        Of the CPU.
    """

    def __init__(self, maps: Sequence[str], arrays: Arrays, threads: int) -> None:
        self._maps = tuple(maps)
        self._arrays = arrays
        self._threads = threads

    def features(self, views: Sequence[Any]) -> Float32:
        """Give ``(n, 176 * maps)``; the picture may change size between views."""
        out = np.empty((len(views), _STATISTICS * len(self._maps)), dtype=np.float32)
        if isinstance(self._arrays, HostArrays):
            # One view at a time stays in the cache.
            for row, patches in zip(out, views, strict=True):
                row[:] = patch_statistics(patches, self._maps, threads=self._threads)
            return out
        for indices in _same_size(views, in_order=False):
            group = [views[i] for i in indices]
            out[indices] = _patch_means(self._on_device(group), len(indices))
        return out

    def _on_device(self, views: list[Any]) -> Float32:
        arrays = self._arrays
        patches = arrays.concatenate(views)
        size = _core.scene_statistics_workspace(patches)
        workspace = arrays.empty((size,), "uint8")
        parts = []
        for name in self._maps:
            part = arrays.empty((len(patches), _STATISTICS))
            of = cast("SceneMap", name)
            scene_statistics(
                patches, of=of, out=part, workspace=workspace, threads=self._threads, stream=arrays.stream
            )
            parts.append(part)
        return arrays.host(arrays.concatenate(parts, axis=1))


class GraphBranch:
    """A backbone's stage maps, pooled to mean and standard deviation (paper, section 3.1).

    Parameters
    ----------
    engine : Engine
        Maps ``frames`` (N, C, H, W) to its stage maps.
    dim : int
        Pooled features of all stages.
    name : str
        Of the model, for messages.
    in_order : bool
        The backbone convolves over time: views are one window, in order, and run together.
    batch : int
        Views in a call. An engine that gains from it always gets so many, zeros at the end: then what
        is computed of a view does not depend on the views beside it, to the last bit.
    threads : int
        Of the CPU.
    unbiased : bool
        Standard deviations with n - 1 in the denominator, as `torch.std` has them by default.
    """

    def __init__(
        self,
        engine: Engine,
        dim: int,
        *,
        name: str,
        in_order: bool,
        batch: int,
        threads: int,
        unbiased: bool = False,
    ) -> None:
        self.engine = engine
        self._dim = dim
        self._name = name
        self._in_order = in_order
        self._batch = batch
        self._threads = threads
        self._unbiased = unbiased

    def features(self, views: Sequence[Any]) -> Float32:
        """Give ``(n, D)``."""
        arrays = self.engine.arrays
        out = np.empty((len(views), self._dim), dtype=np.float32)
        for indices in _same_size(views, self._in_order):
            frames = arrays.concatenate([views[i] for i in indices])
            limit = len(frames) if self._in_order else self._limit(frames, len(views[indices[0]]))
            parts = [self._pooled(frames[i : i + limit], limit) for i in range(0, len(frames), limit)]
            out[indices] = _patch_means(arrays.host(arrays.concatenate(parts)), len(indices))
        return out

    def _limit(self, frames: Any, patches: int) -> int:
        most = _HOST_PIXELS if self.engine.device == "cpu" else _DEVICE_PIXELS
        pixels: int = frames.shape[2] * frames.shape[3]
        limit = max(1, most // pixels)
        return min(limit, self._batch * patches) if self.engine.static_shapes else limit

    def _pooled(self, frames: Any, limit: int) -> Any:
        arrays, count = self.engine.arrays, len(frames)
        if self.engine.static_shapes and count < limit:
            frames = arrays.pad(frames, limit)
        maps = self.engine.run({"frames": frames})
        # Of all views, also those that only fill the batch: how planes are cut follows from their number.
        moments = [self._moments(maps[n])[:count] for n in self.engine.outputs]
        pooled = arrays.concatenate(moments, axis=1)
        if tuple(pooled.shape) != (count, self._dim):
            raise ModelError(
                f"model {self._name}: features must be {(count, self._dim)}, got {tuple(pooled.shape)}"
            )
        return pooled

    def _moments(self, maps: Any) -> Any:
        pooled = self._pooled_maps(maps)
        pixels = int(maps.shape[2] * maps.shape[3])
        if self._unbiased and pixels > 1:
            pooled[:, maps.shape[1] :] *= math.sqrt(pixels / (pixels - 1))
        return pooled

    def _pooled_maps(self, maps: Any) -> Any:
        arrays = self.engine.arrays
        out = arrays.empty((len(maps), 2 * maps.shape[1]))
        if out is None:
            return moment_pool(maps, threads=self._threads)
        # Channels that lie last in memory are read as such.
        last = maps.shape[1] > 1 and maps.stride(1) == 1
        layout: Layout = "nhwc" if last else "nchw"
        view = maps.permute(0, 2, 3, 1) if last else maps
        workspace = arrays.empty((moment_pool_workspace(view, layout),), "float64")
        moment_pool(
            view, layout=layout, out=out, workspace=workspace, threads=self._threads, stream=arrays.stream
        )
        return out


def _patch_means(rows: Float32, samples: int) -> Float32:
    """Average ``(samples * P, D)`` over the P patches of each sample."""
    means: NDArray[np.float64] = rows.reshape(samples, -1, rows.shape[1]).mean(axis=1, dtype=np.float64)
    return means.astype(np.float32)


def _same_size(views: Sequence[Any], in_order: bool) -> list[list[int]]:
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
