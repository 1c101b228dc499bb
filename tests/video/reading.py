"""What tests of NVDEC read of a source, to compare it with what the CPU gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.ops.cuda import CARD_EMULATED

from vqafast.video.nvdec import to_host
from vqafast.video.sampling import EveryFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vqafast.video.pyav import PyAVSource
    from vqafast.video.source import Frame, Sampled

EVERY = EveryFrame(burst=1)
#: Marks of tests that tell the card what to do.
ON_THE_EMULATED_CARD = [
    pytest.mark.cuda,
    pytest.mark.skipif(not CARD_EMULATED, reason="needs the emulated card (tests/run_emulated_card.sh)"),
]


def lumas(samples: Iterator[Sampled]) -> list[Any]:
    return [(s.k, s.frames[0].pts, host(s.frames[0])) for s in samples]


def host(frame: Frame) -> Any:
    """Luma, copied."""
    return np.array(to_host(frame).planes[0])


def same(got: list[Any], truth: list[Any]) -> None:
    assert [(k, pts) for k, pts, _ in got] == [(k, pts) for k, pts, _ in truth]
    for mine, theirs in zip(got, truth, strict=True):
        np.testing.assert_array_equal(mine[2], theirs[2])


def messages(source: PyAVSource) -> list[str]:
    # Raw streams have no times.
    others = {w.code for w in source.warnings} - {"decoder_fallback", "missing_timestamps"}
    assert others == set()
    return fallbacks(source)


def fallbacks(source: PyAVSource) -> list[str]:
    return [w.message for w in source.warnings if w.code == "decoder_fallback"]
