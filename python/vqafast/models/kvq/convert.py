"""A KVQ network into a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..fast_vqa.config import MEAN, STD
from ..fast_vqa.spec import unit
from ..onnx_export import export_graph, noise, weights_of, write_files
from ..spec import Calibration, PoolingSpec, SamplingSpec, Scale
from .config import KvqConfig
from .network import KVQ
from .spec import KvqSpec, ResizedView

if TYPE_CHECKING:
    from os import PathLike


class _Maps(nn.Module):
    """Quality and saliency ``(B, t, h, w)``; their product is the runtime's."""

    def __init__(self, net: KVQ) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.net.maps(clips)
        return maps.quality, maps.saliency


def convert(out: str | PathLike[str]) -> KvqSpec:
    """Write a model directory whose network is random: no weights of its authors are to be had."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = KVQ(KvqConfig())
    return write_network(net, out, random=True)


def write_network(net: KVQ, out: str | PathLike[str], *, random: bool, **described: Any) -> KvqSpec:
    """Export `net` and describe it.

    Parameters
    ----------
    random : bool
        The scores mean nothing.
    **described
        Fields of `ModelSpec` that differ from those of an untrained network.
    """
    config = net.config
    shape = (1, 3, config.frames, config.side, config.side)
    graph, _ = export_graph(
        "network",
        _Maps(net),
        [(noise(seed, shape),) for seed in (1, 2)],
        inputs=["clips"],
        outputs=["quality", "saliency"],
        dynamic={},
        fold=False,
    )
    fields: dict[str, Any] = {
        "name": "kvq" + ("-random" if random else ""),
        "version": "1",
        "meaning": "perceived quality of videos in the wild, as opinion scores say it",
        "scale": Scale("perceptual quality", 0.0, 1.0, "higher_is_better"),
        "calibration": Calibration(steps=(True,)),
        "trained_on": "nothing: random weights",
        "licence": "Apache-2.0",
        "source": "https://arxiv.org/abs/2503.10259",
        **described,
    }
    spec = KvqSpec(
        family="kvq",
        sampling=sampling_of(config),
        pooling=PoolingSpec("raw_mean"),
        files={},
        weights_sha256="",
        directory=Path(out),
        metadata={"random_weights": random, **fields.pop("metadata", {})},
        view=ResizedView(config.side, config.frames, unit(MEAN), unit(STD)),
        **fields,
    )
    written = write_files(out, spec, {"network.onnx": graph, "network.safetensors": weights_of(net)})
    assert isinstance(written, KvqSpec)
    return written


def sampling_of(config: KvqConfig) -> SamplingSpec:
    """Describe which frames are looked at."""
    return SamplingSpec("clips", n=config.clips, burst=config.frames, stride=config.interval, window=1)
