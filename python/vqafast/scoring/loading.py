"""Finding the model and the device that a `Scorer` asks for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument, MissingFile, ModelError, Unsupported
from vqafast.models import registry
from vqafast.scoring.assessment import WarningNote

if TYPE_CHECKING:
    from vqafast.models.spec import ModelSpec

DEVICES: tuple[str, ...] = ("cpu", "cuda", "auto")


def load_spec(model: str | os.PathLike[str] | None) -> ModelSpec:
    """Load and verify a model's description; `ModelError` names what there is if it is absent."""
    wanted = registry.DEFAULT if model is None else os.fspath(model)
    try:
        return registry.load(wanted)
    except MissingFile as error:
        known = ", ".join(registry.BUILTIN)
        if wanted in registry.BUILTIN:
            message = f"model {wanted!r} must be part of the installation, got no {error.path}"
            raise ModelError(message, path=error.path) from error
        raise ModelError(
            f"model must be one of {known}, or a directory with a model.json, got {wanted!r}"
        ) from error


def resolve_device(device: str) -> tuple[str, tuple[WarningNote, ...]]:
    """Give the device to use and what there is to say about the choice."""
    if device not in DEVICES:
        raise InvalidArgument(f"device: must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda":
        raise Unsupported(
            "device: must be cpu or auto in this build, got 'cuda'; scoring on a GPU comes with the GPU build"
        )
    if device == "auto":
        note = WarningNote("device_auto", "device auto chose cpu: this build scores on the CPU only")
        return "cpu", (note,)
    return "cpu", ()
