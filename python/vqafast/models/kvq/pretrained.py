"""Kinetics-400 weights of Video Swin, under the names of its release or of torchvision, for KVQ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqafast.errors import ModelError

from ..checkpoint import check_tensors, listed
from ..fast_vqa.attention import relative_index
from ..fast_vqa.swin3d import SwinTransformer3D

if TYPE_CHECKING:
    from ..fast_vqa.config import SwinConfig
    from .network import KVQ

    State = Mapping[str, Tensor] | Mapping[str, Mapping[str, Tensor]]

_INDEX = ".relative_position_index"
_CLASSIFIERS = ("cls_head.", "head.")


def kinetics_state(swin: SwinConfig, state: State) -> dict[str, Tensor]:
    """Find Video Swin's parameters under the names of `SwinTransformer3D`.

    Parameters
    ----------
    swin : SwinConfig
        Without a second bias table.
    state : mapping
        Names to tensors, or that under "state_dict": the Video Swin release's names ("backbone.layers.0.
        blocks.0.norm1.weight", classifier "cls_head.") or torchvision's `swin3d_t` ("features.0.0.
        norm1.weight", classifier "head."). It must have all that Video Swin has, and beside it a classifier
        only, which is left out.

    Raises
    ------
    ModelError
        When names are missing or left over, or shapes or the windows' index differ: the message has them.
    """
    found = {_renamed(k): v for k, v in _unwrapped(state).items() if not k.startswith(_CLASSIFIERS)}
    with torch.device("meta"):
        wanted = SwinTransformer3D(swin).state_dict()
    index = relative_index(swin.window)
    check_tensors("Kinetics weights must be Video Swin's", found, wanted)
    other = [k for k, v in found.items() if k.endswith(_INDEX) and not torch.equal(v.cpu(), index)]
    if other:
        raise ModelError(
            f"Kinetics weights: {listed(other)} must be the index of window {swin.window}, got another"
        )
    return found


def load_kinetics(network: KVQ, state: State) -> list[str]:
    """Load what KVQ shares with Video Swin; nothing changes unless all of it fits.

    Parameters
    ----------
    network : KVQ
    state : mapping
        As for `kinetics_state`.

    Returns
    -------
    list of str
        Parameters of `network` that keep their values: cross-window attention, saliency and heads.

    Raises
    ------
    ModelError
        As `kinetics_state` does.
    """
    found = kinetics_state(network.config.swin, state)
    mine = network.backbone.state_dict()
    network.backbone.load_state_dict({k: found.get(k, v) for k, v in mine.items()}, strict=True)
    taken = {f"backbone.{k}" for k in found}
    return [name for name, _ in network.named_parameters() if name not in taken]


def _unwrapped(state: State) -> dict[str, Tensor]:
    inner = state.get("state_dict")
    data = inner if isinstance(inner, Mapping) else state
    other = [k for k, v in data.items() if not isinstance(v, Tensor)]
    if other:
        raise ModelError(f"Kinetics weights must be names to tensors, got others at {listed(other)}")
    return {k: v for k, v in data.items() if isinstance(v, Tensor)}


def _renamed(name: str) -> str:
    """Ours for a name of the release or of torchvision, whose mergings are numbered with the stages."""
    match = re.fullmatch(r"features\.(\d+)\.(.+)", name)
    if match is None:
        return name.removeprefix("backbone.")
    place, rest = int(match[1]), match[2]
    if place % 2:
        return f"layers.{place // 2}.downsample.{rest}"
    rest = rest.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    return f"layers.{place // 2}.blocks.{rest}"
