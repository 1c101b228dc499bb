"""Fixtures around one small model with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.scoring.random_model import clip_file, model_directory

from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of moving pictures, 20 samples for the model, three of its windows."""
    return clip_file(tmp_path_factory)


@pytest.fixture(scope="session")
def scorer(model: Path) -> Scorer:
    return Scorer(model, threads=2)
