"""Weights that a training starts from, and where in a network they belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import MissingFile, ModelError
from vqafast.models.checkpoint import read_checkpoint
from vqafast.models.fast_vqa.network import FastVQA, check_fit, checked_state
from vqafast.models.kvq.pretrained import kinetics_state

if TYPE_CHECKING:
    from os import PathLike

    from torch import Tensor, nn

    from vqafast.models.fast_vqa.config import NetworkConfig

#: Name of the weights in a model directory.
WEIGHTS = "network.safetensors"
#: What the names in a run's best.safetensors begin with.
IN_A_RUN = "network."
# Every checkpoint of FAST-VQA has the head's last layer; Kinetics weights have not.
_HEAD = ".fc_last.weight"
_RELATIVE, _FRAGMENT = "relative_position_bias_table", "fragment_position_bias_table"


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds; `ours` is True for a model of vqafast or a run, whose names are the network's."""

    file: Path
    state: dict[str, Tensor]
    ours: bool


def find_weights(path: str | PathLike[str]) -> Found:
    """Read the weights in a model directory, or a file: of a run, or a checkpoint of somebody else.

    Raises
    ------
    MissingFile
        When there are none.
    ModelError
        When they cannot be read.
    """
    given = Path(path)
    file = given / WEIGHTS if given.is_dir() else given
    if not file.is_file():
        raise MissingFile(
            f"init: must be a file of weights or a model directory with {WEIGHTS}, got {str(path)!r}",
            path=str(path),
        )
    state = read_checkpoint(file)
    if file.suffix != ".safetensors":
        return Found(file, state, ours=False)
    prefix = IN_A_RUN if all(name.startswith(IN_A_RUN) for name in state) else ""
    return Found(file, {name.removeprefix(prefix): value for name, value in state.items()}, ours=True)


@dataclass(frozen=True, slots=True)
class SwinWeights:
    """Of FAST-VQA's two parts, under their own names; `head` is None where only a backbone was found."""

    backbone: dict[str, Tensor]
    head: dict[str, Tensor] | None

    def into(self, backbone: nn.Module, head: nn.Module) -> None:
        """Load both; `backbone` may have more than Swin's parameters."""
        rest = backbone.load_state_dict(self.backbone, strict=False)
        assert not rest.unexpected_keys
        if self.head is not None:
            head.load_state_dict(self.head, strict=True)


def swin_weights(found: Found, config: NetworkConfig) -> SwinWeights:
    """Parts of FAST-VQA of `config`: a model or run of it, its authors' checkpoint, or Video Swin's.

    Raises
    ------
    ModelError
        When it does not fit: the message has the names.
    """
    state, file = found.state, found.file
    if found.ours:
        check_fit(file, config.name, state, FastVQA(config).state_dict(), config.backbone.window)
    elif any(name.endswith(_HEAD) for name in state):
        state = checked_state(file, state, config)
    else:
        return SwinWeights(_kinetics(file, config, state), None)
    backbone, head = (
        {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        for prefix in (f"{config.backbone_name}.", f"{config.head_name}.")
    )
    return SwinWeights(backbone, head)


def _kinetics(file: Path, config: NetworkConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its bias table becomes both tables, as in swin_backbone.py, load_swin, of FAST-VQA's release."""
    swin = config.backbone
    plain = replace(swin, fragment_bias=(False,) * len(swin.depths))
    try:
        found = kinetics_state(plain, state)
    except ModelError as error:
        raise ModelError(f"checkpoint {file.name}: {error}", path=str(file)) from error
    network = FastVQA(config)
    mine = network.backbone.state_dict()
    return {n: found.get(n.replace(_FRAGMENT, _RELATIVE), v) for n, v in mine.items()}
