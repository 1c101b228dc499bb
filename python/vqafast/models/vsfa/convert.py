"""An authors' checkpoint and ResNet-50's weights, once, into a model directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vqafast.errors import InvalidArgument

from ..backbones.loader import fit
from ..backbones.resnet import resnet50_last
from ..backbones.table import IMAGENET_MEAN, IMAGENET_STD
from ..backbones.weights import load_backbone, resolve
from ..checkpoint import read_checkpoint
from ..onnx_export import export_graph, noise, weights_of, write_files
from ..spec import Calibration, PoolingSpec, SamplingSpec, Scale
from .network import DATASETS, FEATURES, Mdtvsfa, Vsfa
from .spec import FrameView, VsfaSpec

if TYPE_CHECKING:
    from os import PathLike

    from torch import nn

#: Subjectively-inspired temporal pooling (VSFA, eqs. 8 to 12): gamma 0.5, tau 12.
POOLING = PoolingSpec("sitp", 0.5, 12)
_SOURCES = {"vsfa": "https://github.com/lidq92/VSFA", "mdtvsfa": "https://github.com/lidq92/MDTVSFA"}


def convert(
    kind: str,
    checkpoint: str | PathLike[str],
    out: str | PathLike[str],
    *,
    backbone: str | PathLike[str] | None,
    dataset: str | None = None,
) -> VsfaSpec:
    """Write a model directory.

    Parameters
    ----------
    kind : {"vsfa", "mdtvsfa"}
    checkpoint : path
        ``VSFA.pt`` or ``MDTVSFA.pt`` of the authors; read without running code in it, loaded strictly.
    out : path
        New directory.
    backbone : path, name or https address, or None
        ResNet-50 trained on ImageNet; see `vqafast.models.backbones.weights`. None leaves the backbone
        random: the model says so, and its scores mean nothing.
    dataset : {"K", "C", "L", "N"}, optional
        MDTVSFA only: scores on the scale of that data set (KoNViD-1k, CVD2014, LIVE-Qualcomm, LIVE-VQC)
        instead of the common one of 0 to 1.

    Raises
    ------
    InvalidArgument
        For another kind or data set.
    MissingFile, ModelError
        When the checkpoint is not there, or has keys missing or left over, which are named.
    """
    if kind not in _SOURCES:
        raise InvalidArgument(f"models add: from must be one of {', '.join(_SOURCES)}, got {kind!r}")
    if dataset is not None and (kind != "mdtvsfa" or dataset not in DATASETS):
        raise InvalidArgument(
            f"models add: dataset is for mdtvsfa and must be one of {', '.join(DATASETS)}, got {dataset!r}"
        )
    head: Vsfa | Mdtvsfa = Vsfa() if kind == "vsfa" else Mdtvsfa()
    fit(head, read_checkpoint(checkpoint), Path(checkpoint))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = resnet50_last()
    if backbone is not None:
        load_backbone(body, "resnet50_last", resolve(backbone))
    graphs = _graphs(head, body)
    calibration = Calibration(clip=False)
    scale = Scale("perceptual quality", 0.0, 1.0, "higher_is_better")
    if isinstance(head, Mdtvsfa):
        calibration = replace(calibration, steps=head.steps())
        if dataset is not None:
            gain, offset = head.line(dataset)
            calibration = replace(calibration, scale=gain, offset=offset)
            scale = Scale(f"MOS of data set {dataset}", offset, offset + gain, "higher_is_better")
    about = "the authors' data sets; see source" if backbone is not None else "head only: random backbone"
    spec = VsfaSpec(
        name=kind + ("" if backbone is not None else "-random"),
        version="1",
        family="vsfa",
        meaning="perceived quality of videos in the wild, as opinion scores say it",
        scale=scale,
        sampling=SamplingSpec("every_frame"),
        pooling=POOLING,
        calibration=calibration,
        files={},
        weights_sha256="",
        trained_on=about,
        licence="MIT (head); as of the backbone's weights",
        source=_SOURCES[kind],
        directory=Path(out),
        metadata={"random_weights": backbone is None},
        view=FrameView(IMAGENET_MEAN, IMAGENET_STD, FEATURES, unbiased=True),
    )
    written = write_files(out, spec, graphs)
    assert isinstance(written, VsfaSpec)
    return written


def _graphs(head: nn.Module, body: nn.Module) -> dict[str, bytes]:
    axes = {0: "N", 2: "H", 3: "W"}
    backbone, _ = export_graph(
        "backbone",
        body,
        [(noise(1, (2, 3, 96, 128)),), (noise(2, (1, 3, 75, 130)),)],
        inputs=["frames"],
        outputs=["stage0"],
        dynamic={"frames": axes, "stage0": {0: "N", 2: "H_stage0", 3: "W_stage0"}},
    )
    over_time, _ = export_graph(
        "head",
        head,
        [(noise(steps, (1, steps, FEATURES)),) for steps in (7, 1, 40)],
        inputs=["features"],
        outputs=["q"],
        dynamic={"features": {1: "T"}, "q": {1: "T"}},
    )
    return {"backbone.onnx": backbone, "head.onnx": over_time, "head.safetensors": weights_of(head)}
