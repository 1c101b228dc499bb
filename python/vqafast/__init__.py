"""Blind (no-reference) video quality scores at the speed of the decoder.

>>> import vqafast
>>> vqafast.score("clip.mp4")                       # doctest: +SKIP
63.4
>>> vqafast.assess("clip.mp4", window=2).segments   # doctest: +SKIP

Nothing heavy is imported until one of these names is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqafast import errors as errors
    from vqafast.scoring.api import assess as assess
    from vqafast.scoring.api import assess_many as assess_many
    from vqafast.scoring.api import score as score
    from vqafast.scoring.assessment import Assessment as Assessment
    from vqafast.scoring.many import Outcome as Outcome
    from vqafast.scoring.scorer import Scorer as Scorer
    from vqafast.scoring.stream import ScoreStream as ScoreStream

    __version__: str

__all__ = [
    "Assessment",
    "Outcome",
    "ScoreStream",
    "Scorer",
    "__version__",
    "assess",
    "assess_many",
    "errors",
    "score",
]

_HOME = {
    "Assessment": "vqafast.scoring.assessment",
    "Outcome": "vqafast.scoring.many",
    "ScoreStream": "vqafast.scoring.stream",
    "Scorer": "vqafast.scoring.scorer",
    "assess": "vqafast.scoring.api",
    "assess_many": "vqafast.scoring.api",
    "score": "vqafast.scoring.api",
}


def __getattr__(name: str) -> Any:
    import importlib

    value: Any
    if name == "__version__":
        from importlib import metadata

        try:
            value = metadata.version("vqafast")
        except metadata.PackageNotFoundError:
            # Run from a source tree that was never installed.
            value = "0+unknown"
    elif name == "errors":
        return importlib.import_module("vqafast.errors")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'vqafast' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
