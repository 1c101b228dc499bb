"""Writes a model directory from torch modules: four ONNX graphs, split at our ops, and model.json."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from ..onnx_export import export_graph, noise, weights_of, write_files
from ..spec import (
    A2INetSpec,
    Calibration,
    HeadSpec,
    PoolingSpec,
    QualityView,
    SamplingSpec,
    Scale,
    SemanticView,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from .config import HeadConfig
    from .modules import A2INetHead


@dataclass(frozen=True, slots=True)
class Description:
    """What model.json says beside the head's config and the files; see `A2INetSpec`."""

    name: str
    version: str
    meaning: str
    scale: Scale
    sampling: SamplingSpec
    quality: QualityView
    semantic: SemanticView
    trained_on: str
    licence: str
    source: str
    calibration: Calibration = field(default_factory=Calibration)
    metadata: dict[str, Any] = field(default_factory=dict)


def export_model(
    directory: str | PathLike[str],
    description: Description,
    *,
    quality: nn.Module | None,
    semantic: nn.Module,
    head: A2INetHead,
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((96, 128), (64, 96)),
    keep: Sequence[str] = (),
) -> tuple[A2INetSpec, dict[str, float]]:
    """Write `directory`, and check every graph against its module with OpenVINO.

    Parameters
    ----------
    directory : path
        Made if it is missing; files of the same names are replaced.
    quality, semantic : torch.nn.Module
        Map ``(N, C, H, W)`` to a tuple of stage maps ``(N, C_i, H_i, W_i)``. They, and `head`, are
        switched to evaluation mode. `quality` is None when the description's quality features
        come from an op.
    sizes : pair of (height, width)
        Of the frames used for tracing and for the check, for the quality and the semantic branch.
    keep : sequence of str
        Of "quality", "semantic", "head": modules whose weights are written as ``<name>.safetensors``
        too, so that training can go on from them. Scoring does not read those files.

    Returns
    -------
    spec : A2INetSpec
    parity : dict
        Per graph, the largest difference from torch relative to the output's largest value, over
        several shapes.

    Raises
    ------
    ModelError
        When a graph differs from torch by more than `TOLERANCE`, or bakes in a shape.
    InvalidArgument
        When the description does not fit the modules.
    """
    graphs, parity = backbone_graphs(description, quality, semantic, head.config, sizes)
    if head.config.interaction == "cagi":
        graphs["align"], parity["align"] = _align(head)
    graphs["temporal"], parity["temporal"] = _temporal(head)
    modules = {"quality": quality, "semantic": semantic, "head": head}
    return write_model(directory, description, head, graphs, modules, keep), parity


def backbone_graphs(
    description: Description,
    quality: nn.Module | None,
    semantic: nn.Module,
    config: HeadConfig,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    constants: int = 0,
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Graphs of the backbones and their differences from torch, by name.

    `constants` of the head's features come from elsewhere and stand behind those of the pictures.
    """
    if (quality is None) != (description.quality.features != "graph"):
        raise InvalidArgument(
            "export: quality must be a module exactly when the quality features are a graph, "
            f"got {type(quality).__name__} and {description.quality.features!r}"
        )
    channels = _channels(description)
    graphs: dict[str, bytes] = {}
    parity: dict[str, float] = {}
    for name, net, depth, size, dim, clip in (
        ("quality", quality, channels[0], sizes[0], config.quality_dim - constants, False),
        ("semantic", semantic, channels[1], sizes[1], config.semantic_dim - constants,
         description.semantic.temporal == "window"),
    ):  # fmt: skip
        if net is not None:
            graphs[name], parity[name] = _backbone(name, net, channels=depth, size=size, dim=dim, clip=clip)
    return graphs, parity


def write_model(
    directory: str | PathLike[str],
    description: Description,
    head: A2INetHead,
    graphs: Mapping[str, bytes],
    modules: Mapping[str, nn.Module | None],
    keep: Sequence[str],
    **extra: Any,
) -> A2INetSpec:
    """Write graphs, weights of the modules in `keep`, and model.json; `extra` are fields of `A2INetSpec`."""
    contents = {f"{name}.onnx": data for name, data in graphs.items()} | _weights(modules, keep)
    spec = write_files(directory, replace(_spec(description, head, Path(directory)), **extra), contents)
    assert isinstance(spec, A2INetSpec)
    return spec


class _AlignGraph(nn.Module):
    def __init__(self, head: A2INetHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, quality: Tensor, semantic: Tensor) -> tuple[Tensor, ...]:
        assert self.head.align is not None
        out: tuple[Tensor, ...] = self.head.align(*self.head.standardise(quality, semantic))
        return out


class _TemporalGraph(nn.Module):
    def __init__(self, head: A2INetHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, fused: Tensor) -> Tensor:
        if self.head.align is None:
            # Without CGIN the features come here side by side, as they are.
            parts = torch.split(fused, [self.head.config.quality_dim, self.head.config.semantic_dim], dim=2)
            fused = torch.cat(self.head.standardise(parts[0], parts[1]), dim=2)
        out: Tensor = self.head.temporal(fused)
        return out


def _backbone(
    name: str, net: nn.Module, *, channels: int, size: tuple[int, int], dim: int, clip: bool
) -> tuple[bytes, float]:
    height, width = size
    shapes = [(3, channels, height, width), (1, channels, height, width)]
    shapes.append((2, channels, height - 17, width + 5))
    examples = [(noise(i, shape),) for i, shape in enumerate(shapes)]
    net.eval()
    with torch.no_grad():
        maps = net(*examples[0])
    if isinstance(maps, Tensor) or any(m.ndim != 4 for m in maps):
        raise InvalidArgument(f"export: {name} must return a tuple of (N, C, H, W) maps")
    pooled = 2 * sum(m.shape[1] for m in maps)
    if pooled != dim:
        raise InvalidArgument(f"export: {name} must give {dim} pooled features (head config), gives {pooled}")
    outputs = [f"stage{i}" for i in range(len(maps))]
    axes = {0: "T" if clip else "N", 2: "H", 3: "W"}
    dynamic = {"frames": axes, **{n: {0: axes[0], 2: f"H_{n}", 3: f"W_{n}"} for n in outputs}}
    return export_graph(name, net, examples, inputs=["frames"], outputs=outputs, dynamic=dynamic)


def _align(head: A2INetHead) -> tuple[bytes, float]:
    c = head.config
    examples = [
        (noise(1, (*shape, c.quality_dim)), noise(2, (*shape, c.semantic_dim)))
        for shape in ((2, 5), (1, 1), (3, 40))
    ]
    outputs = ["x", "y", "gamma_x", "theta_x", "gamma_y", "theta_y"]
    outputs = outputs[:2] if c.mode == "adain" else outputs
    inputs = ["quality", "semantic"]
    dynamic = {n: {0: "B", 1: "T"} for n in inputs + outputs}
    return export_graph("align", _AlignGraph(head), examples, inputs=inputs, outputs=outputs, dynamic=dynamic)


def _temporal(head: A2INetHead) -> tuple[bytes, float]:
    shapes = ((2, 5), (1, 1), (3, 40), (1, 128), (1, 2))
    examples = [(noise(i, (*shape, head.config.fused_dim)),) for i, shape in enumerate(shapes)]
    dynamic = {n: {0: "B", 1: "T"} for n in ("fused", "q")}
    return export_graph(
        "temporal", _TemporalGraph(head), examples, inputs=["fused"], outputs=["q"], dynamic=dynamic
    )


def _weights(modules: Mapping[str, nn.Module | None], keep: Sequence[str]) -> dict[str, bytes]:
    written = {}
    for name in keep:
        module = modules.get(name)
        if module is None:
            raise InvalidArgument(f"export: keep must name modules that there are, got {name!r}")
        written[f"{name}.safetensors"] = weights_of(module)
    return written


def _channels(d: Description) -> tuple[int, int]:
    quality = 2 if d.quality.temporal == "pair" else (3 if d.quality.output == "rgb" else 1)
    return quality, 3 if d.semantic.output == "rgb" else 1


def _spec(d: Description, head: A2INetHead, path: Path) -> A2INetSpec:
    c = head.config
    config = c.to_dict()
    return A2INetSpec(
        name=d.name,
        version=d.version,
        family="a2inet",
        meaning=d.meaning,
        scale=d.scale,
        sampling=d.sampling,
        quality=d.quality,
        semantic=d.semantic,
        head=HeadSpec(
            c.interaction, c.mode, c.direction, c.eps, c.alpha, c.beta,
            c.quality_dim, c.semantic_dim, config,
        ),
        pooling=PoolingSpec("hysteresis", c.alpha, c.beta),
        calibration=d.calibration,
        files={},
        weights_sha256="",
        trained_on=d.trained_on,
        licence=d.licence,
        source=d.source,
        directory=path,
        metadata=d.metadata,
    )  # fmt: skip
