"""Finding the model that a `Scorer` asks for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vqafast.errors import MissingFile, ModelError
from vqafast.models import registry

if TYPE_CHECKING:
    from vqafast.models.spec import ModelSpec


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
