"""What the service is asked and answers, as its OpenAPI document has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query

from vqafast.farm.service.errors import STATUS
from vqafast.scoring.assessment import ModelInfo, Scale, WarningNote  # noqa: TC001 - FastAPI reads the hints
from vqafast.scoring.pooling import Pooling  # noqa: TC001


@dataclass(frozen=True)
class Score:
    """Answer of ``/score``: the number, and what it means.

    Attributes
    ----------
    uncertainty : float or None
        Half width, as in `vqafast.scoring.assessment.Uncertainty`.
    """

    path: str
    score: float
    uncertainty: float | None
    scale: Scale
    duration: float | None
    model: ModelInfo
    warnings: tuple[WarningNote, ...]


@dataclass(frozen=True)
class Reason:
    """Stable `code` of an error, and words."""

    code: str
    message: str


@dataclass(frozen=True)
class Failure:
    """Answer without a score."""

    error: Reason


@dataclass(frozen=True)
class Health:
    """Whether scores can be had, and how many requests there are."""

    status: Literal["ok", "stopping"]
    version: str
    model: str
    waiting: int
    under_way: int


@dataclass(frozen=True)
class Asked:
    """How a request wants its video scored."""

    pooling: Annotated[
        Pooling | None, Query(description="Of frame scores over time; the model's own if not given.")
    ] = None
    display: Annotated[
        str | None,
        Query(
            pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$",
            description="Score as scaled to this display: 1920x1080.",
        ),
    ] = None


@dataclass(frozen=True)
class AskedAll(Asked):
    """Parts to score beside the whole."""

    window: Annotated[
        Literal["gop", "shot"] | Annotated[float, Query(gt=0, allow_inf_nan=False)] | None,
        Query(description="Seconds of each part, or gop, or shot."),
    ] = None


PathName = Annotated[
    str, Query(min_length=1, max_length=4096, description="Below the folder that is served.")
]
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": ", ".join(c for c, s in STATUS.items() if s == status)}
    for status in sorted({500, *STATUS.values()} - {499})
}
FAILURES[500]["description"] = "internal, worker_died, memory_limit and other faults of the service"
UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
