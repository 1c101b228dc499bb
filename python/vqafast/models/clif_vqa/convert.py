"""A CLiF-VQA network and CLIP into a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..clip import visual
from ..clip.extractor import SemanticExtractor, random_extractor
from ..fast_vqa.convert import sampling_spec, view_spec
from ..onnx_export import export_graph, noise, weights_of, write_files
from ..spec import Calibration, PoolingSpec, Scale
from .config import ClifConfig
from .network import ClifVqa
from .spec import BlockView, ClifVqaSpec

if TYPE_CHECKING:
    from os import PathLike


class _Spatial(nn.Module):
    def __init__(self, net: ClifVqa) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        return self.net.spatial(clips)


class _Regression(nn.Module):
    def __init__(self, net: ClifVqa) -> None:
        super().__init__()
        self.net = net

    def forward(self, semantics: Tensor, spatial: Tensor) -> Tensor:
        return self.net.regress(semantics, spatial)


def convert(out: str | PathLike[str], *, clip: str | PathLike[str] | None) -> ClifVqaSpec:
    """Write a model directory whose network is random: its authors have published no weights.

    Parameters
    ----------
    out : path
        New directory.
    clip : path or None
        CLIP's weights, as `vqafast.models.clip.pretrained.load` takes them: the shares of the descriptions
        then mean something, though the score does not. None leaves CLIP random too.
    """
    config = ClifConfig()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ClifVqa(config)
        extractor = random_extractor(config.clip, len(config.descriptions)) if clip is None else None
    if extractor is None:
        from ..clip.pretrained import extractor_of

        assert clip is not None
        extractor = extractor_of(clip, [config.prompt.format(d) for d in config.descriptions])
    return write_network(net, extractor, out, random=True, metadata={"random_clip": clip is None})


def write_network(
    net: ClifVqa,
    extractor: SemanticExtractor,
    out: str | PathLike[str],
    *,
    random: bool,
    metadata: dict[str, Any] | None = None,
    **described: Any,
) -> ClifVqaSpec:
    """Export `net` and `extractor`, and describe them.

    Parameters
    ----------
    random : bool
        The scores mean nothing.
    **described
        Fields of `ModelSpec` that differ from those of an untrained network.
    """
    config, side = net.config, extractor.visual.config.side
    sampling = config.sampling
    semantics, spatial = (1, config.looks, config.features), (1, config.tokens)
    graphs = {
        "spatial": export_graph(
            "spatial", _Spatial(net), [(noise(i, (1, 3, *sampling.size)),) for i in (1, 2)],
            inputs=["clips"], outputs=["spatial"], dynamic={}, fold=False,
        ),
        "semantic": export_graph(
            "semantic", extractor, [(noise(i, (i, 3, side, side)),) for i in (3, 2)],
            inputs=["images"], outputs=["shares"], dynamic={"images": {0: "N"}, "shares": {0: "N"}},
        ),
        "head": export_graph(
            "head", _Regression(net), [(noise(i, semantics), noise(i + 1, spatial)) for i in (5, 7)],
            inputs=["semantics", "spatial"], outputs=["q"], dynamic={},
        ),
    }  # fmt: skip
    fields: dict[str, Any] = {
        "name": config.name + ("-random" if random else ""),
        "version": "1",
        "meaning": "perceived quality of videos in the wild, as opinion scores say it",
        "scale": Scale("perceptual quality", 0.0, 1.0, "higher_is_better"),
        "calibration": Calibration(steps=(True,)),
        "trained_on": "nothing: random weights",
        "licence": "Apache-2.0; as of CLIP's weights",
        "source": "https://arxiv.org/abs/2311.07090",
        **described,
    }
    spec = ClifVqaSpec(
        family="clif_vqa",
        sampling=sampling_spec(sampling),
        pooling=PoolingSpec("raw_mean"),
        files={},
        weights_sha256="",
        directory=Path(out),
        metadata={"random_weights": random, **(metadata or {})},
        view=view_spec(sampling),
        blocks=BlockView(config.blocks, side, config.looks, visual.MEAN, visual.STD),
        descriptions=config.descriptions,
        **fields,
    )
    contents = {f"{name}.onnx": graph for name, (graph, _) in graphs.items()}
    written = write_files(out, spec, contents | {"network.safetensors": weights_of(net)})
    assert isinstance(written, ClifVqaSpec)
    return written
