"""An authors' checkpoint, or random weights, into a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from ..onnx_export import export_graph, noise, weights_of, write_files
from ..spec import Calibration, PoolingSpec, SamplingSpec, Scale
from .config import MEAN, PRESETS, STD
from .network import FastVQA
from .spec import FastVqaSpec, FragmentView, unit

if TYPE_CHECKING:
    from os import PathLike

    from .config import NetworkConfig, Sampling

_DOVER = "https://github.com/VQAssessment/DOVER"
_FAST = "https://github.com/VQAssessment/FAST-VQA-and-FasterVQA"


class ByTime(nn.Module):
    """Scores ``(B, T/2)``: local scores averaged over space, so that time can be reported."""

    def __init__(self, net: FastVQA) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips ``(B, 3, T, H, W)``."""
        out: Tensor = self.net.quality_map(clips).mean(dim=(2, 3))
        return out


def convert(preset: str, checkpoint: str | PathLike[str] | None, out: str | PathLike[str]) -> FastVqaSpec:
    """Write a model directory.

    Parameters
    ----------
    preset : str
        Key of `config.PRESETS`.
    checkpoint : path or None
        Of the authors; read without running code in it, loaded strictly. None leaves the weights random:
        the model says so, and its scores mean nothing.
    out : path
        New directory.

    Raises
    ------
    InvalidArgument
        For another preset.
    MissingFile, ModelError
        When the checkpoint is not there, or has keys missing or left over, which are named.
    """
    if preset not in PRESETS:
        raise InvalidArgument(f"models add: preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    config = PRESETS[preset]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = FastVQA(config)
    if checkpoint is not None:
        net.load(checkpoint)
    return write_network(net, config, out, random=checkpoint is None)


def write_network(
    net: FastVQA, config: NetworkConfig, out: str | PathLike[str], *, random: bool, **described: Any
) -> FastVqaSpec:
    """Export `net` and describe it.

    Parameters
    ----------
    random : bool
        The scores mean nothing.
    **described
        Fields of `ModelSpec` that differ from those of an authors' checkpoint.
    """
    size = config.sampling.size
    graph, _ = export_graph(
        "network",
        ByTime(net),
        [(noise(seed, (1, 3, *size)),) for seed in (1, 2)],
        inputs=["clips"],
        outputs=["q"],
        dynamic={},
        fold=False,
    )
    mean, deviation = config.rescale
    sampling = config.sampling
    fields: dict[str, Any] = {
        "name": config.name + ("-random" if random else ""),
        "version": "1",
        "meaning": "perceived quality of videos in the wild, as opinion scores say it",
        "scale": Scale("perceptual quality", 0.0, 1.0, "higher_is_better"),
        # sigmoid((score - mean) / deviation): the release's own rescaling.
        "calibration": Calibration(steps=((1.0 / deviation, -mean / deviation), True)),
        "trained_on": "nothing: random weights" if random else "LSVQ, as its authors say; see source",
        "licence": "Apache-2.0" if random else "as of the authors' release; see source",
        "source": _DOVER if config.name.startswith("dover") else _FAST,
        **described,
    }
    spec = FastVqaSpec(
        family="fast_vqa",
        sampling=sampling_spec(sampling),
        pooling=PoolingSpec("raw_mean"),
        files={},
        weights_sha256="",
        directory=Path(out),
        metadata={"random_weights": random, **fields.pop("metadata", {})},
        view=view_spec(sampling),
        **fields,
    )
    written = write_files(out, spec, {"network.onnx": graph, "network.safetensors": weights_of(net)})
    assert isinstance(written, FastVqaSpec)
    return written


def view_spec(s: Sampling) -> FragmentView:
    """Describe the authors' fragments."""
    return FragmentView(s.grid, s.patch, s.frames, unit(MEAN), unit(STD))


def sampling_spec(s: Sampling) -> SamplingSpec:
    """Describe the authors' choice of frames: clips, or one clip of runs spread over the video."""
    kind, count = ("segments", s.segments) if s.segments > 1 else ("clips", s.clips)
    return SamplingSpec(kind, n=count, burst=s.frames // s.segments, stride=s.interval, window=s.segments)
