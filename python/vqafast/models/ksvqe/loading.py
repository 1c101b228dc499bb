"""Checkpoints of the release, or of its code, into `KSVQE`.

The release saves what DataParallel or DistributedDataParallel hold: names start with "module.", and stand
under "state_dict" beside "validation_results" (trainer_ddp.py). The number of adapters and of modulated
stages is a training's choice, and is read from the names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..checkpoint import read_checkpoint
from ..fast_vqa.network import check_fit
from .config import KsvqeConfig
from .network import KSVQE

if TYPE_CHECKING:
    from os import PathLike

    from torch import Tensor

_PARALLEL = "module."
_ADAPTERS = "KSVQE_backbone.CLIP_tool.adapter_layer."
_STAGES = "KSVQE_backbone.a1"


def load_checkpoint(
    path: str | PathLike[str], base: KsvqeConfig | None = None
) -> tuple[KsvqeConfig, dict[str, Tensor]]:
    """Read a checkpoint.

    Parameters
    ----------
    path : str or path
        Read with ``weights_only=True``: no code in it runs.
    base : KsvqeConfig, optional
        What the network is otherwise; the release's by default.

    Returns
    -------
    config : KsvqeConfig
        `base` with the checkpoint's adapters and modulated stages.
    state : dict of str to Tensor
        What ``KSVQE(config)`` loads strictly.

    Raises
    ------
    MissingFile
        When there is no such file.
    ModelError
        When it cannot be read, or does not fit: the message has the missing and unexpected names.
    """
    file = Path(path)
    return checked_state(file, read_checkpoint(file), base)


def checked_state(
    file: Path, state: dict[str, Tensor], base: KsvqeConfig | None = None
) -> tuple[KsvqeConfig, dict[str, Tensor]]:
    """What `load_checkpoint` gives, of a checkpoint that `read_checkpoint` has read."""
    if state and all(k.startswith(_PARALLEL) for k in state):
        state = {k.removeprefix(_PARALLEL): v for k, v in state.items()}
    config = _inferred(base or KsvqeConfig(), state)
    with torch.device("meta"):
        wanted = KSVQE(config).state_dict()
    check_fit(file, config.name, state, wanted, config.swin.window)
    return config, state


def _inferred(base: KsvqeConfig, state: dict[str, Tensor]) -> KsvqeConfig:
    """`base` with what the names say; where they say nothing possible, `check_fit` will name them."""
    start, stage = base.adapter_start, base.tuning_stage
    adapters = {k.removeprefix(_ADAPTERS).split(".")[0] for k in state if k.startswith(_ADAPTERS)}
    if 0 < len(adapters) <= base.clip.layers:
        start = base.clip.layers - len(adapters)
    weights, stages = state.get(_STAGES), len(base.swin.depths)
    if weights is not None and weights.ndim == 2 and 0 < len(weights) <= stages:
        stage = stages - len(weights)
    return replace(base, adapter_start=start, tuning_stage=stage)
