"""The random model and its clip, shared with the tests of scoring."""

from tests.scoring.conftest import clip, model

__all__ = ["clip", "model"]
