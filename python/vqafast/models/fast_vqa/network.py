"""The whole of FAST-VQA under its authors' names, and their checkpoints.

| file | holds | names |
|--|--|--|
| FAST_VQA_B_1_4.pth, FAST_VQA_3D_1_1.pth, FAST_VQA_M_1_4.pth | "state_dict", "validation_results" | fragments_backbone., vqa_head. |
| fast_vqa_v0_3.pth and its M | "state_dict" | backbone., cls_head.: renamed by the authors' scripts |
| DOVER.pth | the names themselves | technical_backbone., technical_head., aesthetic_backbone., aesthetic_head. |
| DOVER_plus_plus.pth | "state_dict", "validation_results" | as DOVER.pth |

Sources: fast's new_train.py, new_test.py, vqa.py; dover's evaluate_one_video.py, convert_to_onnx.py and its
issue 30. "state_dict" is what they call the averaged (EMA) model's too.
"""  # noqa: E501 - a table

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqafast.errors import ModelError

from ..checkpoint import check_tensors, listed, read_checkpoint
from .attention import relative_index
from .head import VQAHead
from .swin3d import SwinTransformer3D

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from .config import NetworkConfig, Size


class FastVQA(nn.Module):
    """Clips of fragments to scores.

    Parameters
    ----------
    config : NetworkConfig
        One of `config.PRESETS`, or another.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.add_module(config.backbone_name, SwinTransformer3D(config.backbone))
        self.add_module(config.head_name, VQAHead(config.head))

    @property
    def backbone(self) -> SwinTransformer3D:
        """Backbone, whatever its name."""
        module: Any = self.get_submodule(self.config.backbone_name)
        return module  # type: ignore[no-any-return]

    @property
    def head(self) -> VQAHead:
        """Head, whatever its name."""
        module: Any = self.get_submodule(self.config.head_name)
        return module  # type: ignore[no-any-return]

    def quality_map(self, clips: Tensor) -> Tensor:
        """Map clips ``(B, 3, T, H, W)`` to local scores ``(B, T/2, H/32, W/32)``, each side rounded up."""
        out: Tensor = self.head(self.backbone(clips))
        return out

    def forward(self, clips: Tensor) -> Tensor:
        """Score clips.

        Parameters
        ----------
        clips : Tensor
            ``(B, 3, T, H, W)``: RGB 0..255 normalised with `config.MEAN` and `config.STD`.

        Returns
        -------
        Tensor
            ``(B,)``: mean of each clip's local scores. A video's score is the mean over its clips.
        """
        return self.quality_map(clips).mean(dim=(1, 2, 3))

    def load(self, path: str | PathLike[str]) -> None:
        """Load a checkpoint with `load_checkpoint`; nothing changes unless all of it fits.

        Raises
        ------
        MissingFile, ModelError
        """
        self.load_state_dict(load_checkpoint(path, self.config), strict=True)


def load_checkpoint(path: str | PathLike[str], config: NetworkConfig) -> dict[str, Tensor]:
    """Read an authors' checkpoint into a state dict that `FastVQA` of `config` loads strictly.

    Parameters
    ----------
    path : str or path
        Read with ``weights_only=True``: no code in it runs.
    config : NetworkConfig
        `renamed` and `left_out` are all that may differ.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    MissingFile
        When there is no such file.
    ModelError
        When it cannot be read, or does not fit: the message has the missing and unexpected names.
    """
    file = Path(path)
    return checked_state(file, read_checkpoint(file), config)


def checked_state(file: Path, found: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """What `load_checkpoint` gives, of a checkpoint that `read_checkpoint` has read."""
    state = {_renamed(k, config): v for k, v in found.items() if not k.startswith(config.left_out or ("\0",))}
    with torch.device("meta"):
        wanted = FastVQA(config).state_dict()
    check_fit(file, config.name, state, wanted, config.backbone.window)
    return state


def check_fit(
    file: Path, name: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], window: Size
) -> None:
    """Compare the tensors of a checkpoint with those of a network that has a Swin of `window`.

    Parameters
    ----------
    file : Path
    name : str
        The network's, for messages.
    state, wanted : mapping of str to Tensor
        What the file has; what the network has, of which shapes matter and values do not.
    window : tuple of int

    Raises
    ------
    ModelError
        When they do not fit: the message has the missing and unexpected names.
    """
    must = f"checkpoint {file.name} must be for {name}"
    check_tensors(must, state, wanted, path=str(file))
    index = relative_index(window)
    other = [
        k for k, v in state.items() if k.endswith(".relative_position_index") and not torch.equal(v, index)
    ]
    if other:
        raise ModelError(
            f"checkpoint {file.name}: {listed(other)} must be the index of window {window}",
            path=str(file),
        )


def _renamed(name: str, config: NetworkConfig) -> str:
    for old, new in config.renamed:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


__all__ = ["FastVQA", "check_fit", "checked_state", "load_checkpoint"]
