"""An authors' checkpoint of KSVQE, or random weights, into a model directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..clip import visual
from ..fast_vqa.convert import sampling_spec, view_spec
from ..onnx_export import export_graph, noise, weights_of, write_files
from ..spec import Calibration, PoolingSpec, Scale
from .config import KEY_FRAMES, KsvqeConfig
from .loading import load_checkpoint
from .network import KSVQE
from .regions import key_frames
from .spec import KeyFrameView, KsvqeSpec

if TYPE_CHECKING:
    from os import PathLike

    from ..fast_vqa.config import Sampling


class _ByTime(nn.Module):
    """Scores ``(B, T/2)``: local scores averaged over space, so that time can be reported."""

    def __init__(self, net: KSVQE) -> None:
        super().__init__()
        self.net = net

    def forward(self, fragments: Tensor, frames: Tensor) -> Tensor:
        out: Tensor = self.net.quality_map(fragments, frames).mean(dim=(2, 3))
        return out


def scored_as(sampling: Sampling) -> Sampling:
    """What is scored: the release's clips, one in each third of the video, as a single clip.

    Its evaluation cuts what it reads into clips under the name of the model alone, which KSVQE's inputs
    do not have, so that the network sees all 96 frames at once (trainer_ddp.py).
    """
    return replace(sampling, frames=sampling.frames * sampling.clips, clips=1, segments=sampling.clips)


def convert(checkpoint: str | PathLike[str] | None, out: str | PathLike[str]) -> KsvqeSpec:
    """Write a model directory.

    Parameters
    ----------
    checkpoint : path or None
        Of the authors; read without running code in it, loaded strictly. None leaves the weights random:
        the model says so, and its scores mean nothing.
    out : path
        New directory.

    Raises
    ------
    MissingFile, ModelError
        When the checkpoint is not there, or has keys missing or left over, which are named.
    """
    config, state = (KsvqeConfig(), None) if checkpoint is None else load_checkpoint(checkpoint)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = KSVQE(config)
    if state is not None:
        net.load_state_dict(state, strict=True)
    return write_network(net, out, random=checkpoint is None)


def write_network(net: KSVQE, out: str | PathLike[str], *, random: bool, **described: Any) -> KsvqeSpec:
    """Export `net` and describe it.

    Parameters
    ----------
    random : bool
        The scores mean nothing.
    **described
        Fields of `ModelSpec` that differ from those of an authors' checkpoint.
    """
    config = net.config
    sampling = scored_as(config.sampling)
    side = config.frames_side
    shapes = (1, 3, *sampling.size), (1, KEY_FRAMES, 3, side, side)
    graph, _ = export_graph(
        "network",
        _ByTime(net),
        [(noise(seed, shapes[0]), noise(seed + 1, shapes[1])) for seed in (1, 3)],
        inputs=["fragments", "frames"],
        outputs=["q"],
        dynamic={},
        fold=False,
    )
    fields: dict[str, Any] = {
        "name": config.name + ("-random" if random else ""),
        "version": "1",
        "meaning": "perceived quality of short videos, as opinion scores rank them",
        "scale": Scale("perceptual quality", 0.0, 1.0, "higher_is_better"),
        # Training by correlation leaves the scale of raw outputs free; this one only bounds it.
        "calibration": Calibration(steps=(True,)),
        "trained_on": "nothing: random weights" if random else "KVQ, as its authors say; see source",
        "licence": "Apache-2.0" if random else "as of the authors' release; see source",
        "source": "https://github.com/lixinustc/KVQ-Challenge-CVPR-NTIRE2024",
        **described,
    }
    spec = KsvqeSpec(
        family="ksvqe",
        sampling=sampling_spec(sampling),
        pooling=PoolingSpec("raw_mean"),
        files={},
        weights_sha256="",
        directory=Path(out),
        metadata={"random_weights": random, **fields.pop("metadata", {})},
        view=view_spec(sampling),
        keys=KeyFrameView(key_frames(sampling.frames), side, visual.MEAN, visual.STD),
        **fields,
    )
    written = write_files(out, spec, {"network.onnx": graph, "network.safetensors": weights_of(net)})
    assert isinstance(written, KsvqeSpec)
    return written
