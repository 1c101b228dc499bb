"""The emulated card, as tests that tell it what to do begin and end with it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from tests.ops.cuda import require

from . import card

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def whole_card() -> Iterator[None]:
    """The card works at the start of each test, and holds nothing at its end unless it broke."""
    require()
    card.mend()
    yield
    gc.collect()
    broken, kept = card.broken(), card.kept()
    card.mend()
    card.forget()
    assert broken or kept == {"memory": 0, "decoders": 0, "mapped": 0}
