"""Frozen backbones in torch: views to features, as `A2INetRuntime` does it with exported graphs."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vqafast.errors import InvalidArgument, TooSmall, Unsupported
from vqafast.models.a2inet.functional import moment_pool
from vqafast.models.views import (
    STATISTICS_SIDE,
    patch_statistics,
    quality_view,
    selector_of,
    semantic_view,
)
from vqafast.training.feature_store import StoreKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import Event

    from numpy.typing import NDArray
    from torch import nn

    from vqafast.models.spec import QualityView, SamplingSpec, SemanticView
    from vqafast.video.source import FrameSource, Sampled

    Float32 = NDArray[np.float32]

# As in scoring: bounds the stage maps of one run, and is far above where larger batches stop paying.
_MAX_PIXELS = {"cpu": 1 << 22, "cuda": 1 << 25}


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The caller does not wait any more."""


@dataclass(slots=True)
class ViewsOfSample:
    """Sample `k` at frame `index`, `time` seconds: patches ``(P, C, h, w)``, picture ``(1, C, h, w)``."""

    k: int
    index: int
    time: float
    quality: Float32
    semantic: Float32


def module_digest(module: nn.Module | None) -> str:
    """SHA-256 over a module's architecture (its printed form) and its state.

    What neither shows, such as arithmetic in ``forward``, is covered by `FEATURES_VERSION`.
    """
    if module is None:
        return "scene_statistics"
    digest = hashlib.sha256(f"{type(module).__qualname__}\n{module!r}\n".encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Backbones:
    """Two frozen networks with the sampling and the views that feed them; threads may share it.

    Parameters
    ----------
    quality : torch.nn.Module or None
        Maps ``(N, C, H, W)`` to a tuple of stage maps; None when the quality features are those of
        ``ops.scene_statistics``.
    semantic : torch.nn.Module
        The same for the semantic branch.
    device : str or torch.device
        Copies of the networks run there, on the CPU the networks themselves, in evaluation mode.
    """

    def __init__(
        self,
        quality: nn.Module | None,
        semantic: nn.Module,
        sampling: SamplingSpec,
        quality_spec: QualityView,
        semantic_spec: SemanticView,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        if (quality is None) != (quality_spec.features != "graph"):
            raise InvalidArgument(
                "backbones: quality must be a module exactly when the quality features are a graph, "
                f"got {type(quality).__name__} and {quality_spec.features!r}"
            )
        self.device = torch.device(device)
        self.sampling = sampling
        self.quality_spec = quality_spec
        self.semantic_spec = semantic_spec
        self.selector = selector_of(sampling)
        self.whole_windows = semantic_spec.temporal == "window"
        self._digests = (module_digest(quality), module_digest(semantic))
        self._quality = None if quality is None else self._frozen(quality)
        self._semantic = self._frozen(semantic)

    def _frozen(self, net: nn.Module) -> nn.Module:
        return (net if self.device.type == "cpu" else copy.deepcopy(net)).to(self.device).eval()

    def key(self) -> StoreKey:
        """What decides the features, for a `FeatureStore`."""
        plan = {
            "sampling": {n: v if n != "rate" else str(v) for n, v in asdict(self.sampling).items()},
            "quality_view": asdict(self.quality_spec),
            "semantic_view": asdict(self.semantic_spec),
        }
        if not self.whole_windows:
            # Frames are independent of each other: the head's window has no part in them.
            del plan["sampling"]["window"]
        return StoreKey(*self._digests, plan)

    def check_size(self, width: int, height: int, path: str) -> None:
        """Refuse pictures that scoring would refuse: `TooSmall`."""
        if self._quality is None and min(width, height) < STATISTICS_SIDE:
            raise TooSmall(
                f"{path}: pictures must be at least {STATISTICS_SIDE} pixels a side, got {width}x{height}",
                path=path,
            )

    def views(self, sampled: Sampled, threads: int, *, draw: int = 0) -> tuple[Float32, Float32]:
        """Patches ``(P, C, h, w)`` and semantic picture ``(1, C, h, w)`` of one sample, as at scoring."""
        first = sampled.frames[0]
        self.check_size(first.width, first.height, "video")
        return (
            quality_view(sampled.frames, self.quality_spec, draw=draw, seed=0, threads=threads),
            semantic_view(first, self.semantic_spec, threads=threads),
        )

    def samples(
        self, source: FrameSource, threads: int, *, draw: int = 0, stop: Event | None = None
    ) -> Iterator[ViewsOfSample]:
        """Views of every sample that scoring would score; `Stopped` once `stop` is set."""
        some = False
        for sampled in source.frames(self.selector):
            if stop is not None and stop.is_set():
                raise Stopped
            # As in scoring: a last burst cut short looks as if nothing moved, and counts only alone.
            if len(sampled.frames) < self.selector.burst and some:
                continue
            some = True
            first = sampled.frames[0]
            views = self.views(sampled, threads, draw=draw)
            yield ViewsOfSample(sampled.k, first.index, first.pts, *views)

    def quality_features(self, views: Sequence[Float32], threads: int) -> Float32:
        """Features ``(n, Cq)`` of the patches of n samples, averaged over the patches of each."""
        if self._quality is None:
            return np.stack([patch_statistics(v, self.quality_spec.maps, threads=threads) for v in views])
        return self._branch(self._quality, views, whole=False)

    def semantic_features(self, views: Sequence[Float32]) -> Float32:
        """Features ``(n, Cs)`` of the pictures of n samples; of one whole window if `whole_windows`."""
        return self._branch(self._semantic, views, whole=self.whole_windows)

    def _branch(self, net: nn.Module, views: Sequence[Float32], *, whole: bool) -> Float32:
        if len({v.shape[1:] for v in views}) > 1:
            if whole:
                raise Unsupported("features: pictures of one window must have one size, got several")
            # The picture changed its size: such batches are rare, and are taken apart.
            return np.concatenate([self._branch(net, [v], whole=False) for v in views])
        frames = torch.from_numpy(np.concatenate(views))
        pixels = frames.shape[2] * frames.shape[3]
        limit = len(frames) if whole else max(1, _MAX_PIXELS.get(self.device.type, 1 << 22) // pixels)
        with torch.inference_mode():
            parts = [moment_pool(net(part.to(self.device))).cpu() for part in torch.split(frames, limit)]
        pooled: NDArray[Any] = torch.cat(parts).numpy()
        # Samples of one size may still differ in their number of patches.
        starts = np.cumsum([0, *(len(v) for v in views)])[:-1]
        sums = np.add.reduceat(pooled.astype(np.float64), starts, axis=0)
        out: Float32 = (sums / np.array([len(v) for v in views])[:, None]).astype(np.float32)
        return out
