"""State of a training as safetensors: tensors by name, everything else as JSON in the same file.

One file, so that one rename makes it current; the JSON copy beside it is for people. No pickle.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vqafast.errors import ModelError
from vqafast.training.atomic import replacing, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

_STATE = "state"


def save(path: Path, tensors: Mapping[str, Tensor], state: dict[str, Any], *, copy: bool = True) -> None:
    """Replace the checkpoint at `path`; `state` is JSON, and with `copy` also ``<path stem>.json``."""
    # Copies: safetensors refuses tensors that share memory, as tied layers do.
    whole = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}
    with replacing(path) as part:
        save_file(whole, part, metadata={_STATE: json.dumps(state)})
    if copy:
        write_json(path.with_suffix(".json"), state)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON state of a checkpoint.

    Raises
    ------
    ModelError
        When the file is no checkpoint of ours.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state = json.loads((file.metadata() or {})[_STATE])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"checkpoint {path.name} cannot be read: {error}", path=str(path)) from error
    return tensors, state


def flatten(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of an optimiser as tensors ``<parameter>.<name>`` and JSON."""
    whole = optimiser.state_dict()
    tensors, rest = {}, {}
    for index, values in whole["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                rest[f"{index}.{name}"] = value
    return tensors, {"values": rest, "groups": whole["param_groups"]}


def restore(optimiser: Optimizer, tensors: Mapping[str, Tensor], rest: dict[str, Any]) -> None:
    """Inverse of `flatten`."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **rest["values"]}.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": rest["groups"]})


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` under names that begin with `prefix` and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `prefixed`."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
