"""Writes a model directory whose head is an ensemble, or that asks for bitstream features.

The K heads are traced into one graph pair: align.onnx gives ``(K, T, D)`` for one window, which the
ops take as a batch, and temporal.onnx gives ``(K, T)``. Two calls of the engine and one of the op
serve all heads; K pairs of graphs would pay the overhead of a call K times.

Beside each head a kernel regression may stand: a member's frame score is then a fixed mixture of the two,
and temporal.onnx takes the quality features too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from ..onnx_export import export_graph, noise
from .export import _AlignGraph, _TemporalGraph, backbone_graphs, write_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from ..spec import A2INetSpec, BitstreamView, Uncertainty
    from .export import Description
    from .kernel import KernelRegression
    from .modules import A2INetHead


def export_ensemble(
    directory: str | PathLike[str],
    description: Description,
    *,
    quality: nn.Module | None,
    semantic: nn.Module,
    heads: Sequence[A2INetHead],
    uncertainty: Uncertainty | None = None,
    bitstream: BitstreamView | None = None,
    kernels: Sequence[KernelRegression] = (),
    share: float = 0.0,
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((96, 128), (64, 96)),
    keep: Sequence[str] = (),
) -> tuple[A2INetSpec, dict[str, float]]:
    """Write `directory`, and check every graph against its modules with OpenVINO.

    Parameters
    ----------
    directory, description, quality, semantic, sizes
        See `vqafast.models.a2inet.export.export_model`.
    heads : sequence of A2INetHead
        One or more, with the same config. Its ``quality_dim`` and ``semantic_dim`` count the
        bitstream features too, which stand behind those of the pictures.
    uncertainty : Uncertainty, optional
        Constants fitted on held-out content; needs two heads or more.
    bitstream : BitstreamView, optional
        Makes a model for files only.
    kernels : sequence of KernelRegression, optional
        One for each head, or none.
    share : float
        Weight of the kernel regressions in 0..1; the heads have the rest.
    keep : sequence of str
        Of "quality", "semantic", "head_0", "head_1", ...: modules whose weights are written as
        ``<name>.safetensors`` too.

    Returns
    -------
    spec : A2INetSpec
    parity : dict
        Per graph, the largest difference from torch relative to the output's largest value.

    Raises
    ------
    ModelError
        When a graph differs from torch, or model.json would not be valid.
    InvalidArgument
        When the parts do not fit each other.
    """
    if not heads or any(head.config != heads[0].config for head in heads):
        raise InvalidArgument(f"export: heads must be one or more with equal configs, got {len(heads)}")
    if len(kernels) not in (0, len(heads)) or (share > 0) != bool(kernels) or not 0 <= share <= 1:
        raise InvalidArgument(
            f"export: kernels must be none with share 0, or one for each of {len(heads)} heads with share in "
            f"0..1, got {len(kernels)} with share {share}"
        )
    config = heads[0].config
    constants = 0 if bitstream is None else len(bitstream.features)
    graphs, parity = backbone_graphs(description, quality, semantic, config, sizes, constants)
    if config.interaction == "cagi":
        graphs["align"], parity["align"] = _align(heads)
    graphs["temporal"], parity["temporal"] = _temporal(heads, kernels, share)
    modules = {"quality": quality, "semantic": semantic, **{f"head_{k}": h for k, h in enumerate(heads)}}
    modules |= {f"kernel_{k}": kernel for k, kernel in enumerate(kernels)}
    spec = write_model(
        directory, description, heads[0], graphs, modules, keep,
        members=len(heads), uncertainty=uncertainty, bitstream=bitstream,
    )  # fmt: skip
    return spec, parity


def mixed(heads: Tensor, kernels: Tensor, share: float) -> Tensor:
    """Frame scores of members from those of their heads and of their kernel regressions."""
    return (1.0 - share) * heads + share * kernels


class _AlignAll(nn.Module):
    """Features ``(1, T, .)`` to every output of `Align`, ``(K, T, D)``."""

    def __init__(self, heads: Sequence[A2INetHead]) -> None:
        super().__init__()
        self.members = nn.ModuleList(_AlignGraph(head) for head in heads)

    def forward(self, quality: Tensor, semantic: Tensor) -> tuple[Tensor, ...]:
        outputs = [member(quality, semantic) for member in self.members]
        return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))


class _TemporalAll(nn.Module):
    """``(K, T, fused)``, or ``(1, T, fused)`` without CGIN, and ``(1, T, quality)`` to ``(K, T)``."""

    def __init__(
        self, heads: Sequence[A2INetHead], kernels: Sequence[KernelRegression], share: float
    ) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(kernels)
        self.kernel_share = share
        self.members = nn.ModuleList(_TemporalGraph(head) for head in heads)
        self.shared = heads[0].align is None

    def forward(self, fused: Tensor, quality: Tensor | None = None) -> Tensor:
        parts = [fused] * len(self.members) if self.shared else list(torch.split(fused, 1))
        scores = torch.cat([member(part) for member, part in zip(self.members, parts, strict=True)])
        if quality is None:
            return scores
        return mixed(scores, torch.cat([kernel(quality) for kernel in self.kernels]), self.kernel_share)


def _align(heads: Sequence[A2INetHead]) -> tuple[bytes, float]:
    c = heads[0].config
    examples = [
        (noise(1, (1, steps, c.quality_dim)), noise(2, (1, steps, c.semantic_dim))) for steps in (5, 1, 40)
    ]
    outputs = ["x", "y", "gamma_x", "theta_x", "gamma_y", "theta_y"]
    outputs = outputs[:2] if c.mode == "adain" else outputs
    inputs = ["quality", "semantic"]
    dynamic = {n: {1: "T"} for n in inputs + outputs}
    return export_graph("align", _AlignAll(heads), examples, inputs=inputs, outputs=outputs, dynamic=dynamic)


def _temporal(
    heads: Sequence[A2INetHead], kernels: Sequence[KernelRegression], share: float
) -> tuple[bytes, float]:
    module = _TemporalAll(heads, kernels, share)
    batch = 1 if module.shared else len(heads)
    c = heads[0].config
    examples = [
        (noise(i, (batch, steps, c.fused_dim)), noise(i, (1, steps, c.quality_dim)))[: 2 if kernels else 1]
        for i, steps in enumerate((5, 1, 40, 128, 2))
    ]
    inputs = ["fused", "quality"] if kernels else ["fused"]
    dynamic = {n: {1: "T"} for n in (*inputs, "q")}
    return export_graph("temporal", module, examples, inputs=inputs, outputs=["q"], dynamic=dynamic)
