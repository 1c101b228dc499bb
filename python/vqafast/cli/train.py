"""``vqafast train``: train the default model again on synthesised data."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the hints
from typing import Annotated

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import reporting
from vqafast.errors import EngineUnavailable, InvalidArgument

MODELS = ("a2inet-lite",)


def command(
    model: Annotated[str, typer.Argument(help=f"One of: {', '.join(MODELS)}.")],
    data: Annotated[Path, typer.Option(help="Folder made by python -m vqafast.training.synthesis.")],
    out: Annotated[Path, typer.Option(help="Model directory to write; score with --model OUT.")],
    folds: Annotated[int, typer.Option(help="Cross-validation over sources; 0 skips it.")] = 5,
    epochs: Annotated[int, typer.Option(help="Of the head.")] = 22,
    semantic_epochs: Annotated[int, typer.Option(help="Of the semantic backbone.")] = 3,
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same weights.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes for the feature cache.")] = 2,
    debug: options.Debug = False,
) -> None:
    """Train a model and export it, with its cross-validated figures in model.json."""
    with reporting(debug):
        if model not in MODELS:
            raise InvalidArgument(f"train: model must be one of {', '.join(MODELS)}, got {model!r}")
        try:
            from vqafast.training.lite.train import train
        except ModuleNotFoundError as error:
            raise EngineUnavailable(
                f"train: {error.name} must be installed: pip install 'vqafast[train]'"
            ) from error
        train(data, out, folds=folds, epochs=epochs, semantic_epochs=semantic_epochs, seed=seed, jobs=jobs)
