"""What a batch says of one file: the schema of its output, `docs/record.schema.json`.

`SCHEMA` goes up when a field is removed or changes its meaning; added fields leave it as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from vqafast.errors import VqafastError
    from vqafast.scoring.assessment import Assessment

SCHEMA = 1

Status = Literal["scored", "failed"]


@dataclass(frozen=True, slots=True)
class Record:
    """One file: its score, or why it has none.

    Attributes
    ----------
    path : str
        As the manifest has it, made absolute.
    key : str
        Hash of the file's identity and of everything that decides its score; see `identity`.
    status : {"scored", "failed"}
    score, uncertainty : float or None
        On the scale of the model; `uncertainty` is a half width, None where the model has none.
    code, message : str or None
        Of the error that kept it from being scored: `vqafast.errors.EXIT_CODES`.
    warnings : tuple of dict
        "code" and "message".
    segments : tuple of dict
        "start", "end" (seconds), "score", "frames", "uncertainty", as asked for.
    frames : tuple of (float, float)
        Seconds and score of every sampled frame; empty unless asked for.
    attributes : dict
        What the model says beside the score, by name.
    duration, width, height, frame_rate, codec, bit_rate
        Of the stream as declared; bits per second over the whole file. None where unknown.
    scored_frames, dropped_frames : int or None
        Samples in the score, and those missing from it because frames were damaged.
    scale_min, scale_max, direction, model, model_version, model_sha256, library_version
        What the number means and where it comes from.
    seconds : float
        From the worker's taking the file to its answer.
    stages : dict
        Busy seconds by stage, as in `vqafast.scoring.assessment.Timings`.
    attempts : int
        Workers that tried.
    size, mtime_ns : int or None
        Of the file when it was scored; None when it could not be looked at.
    sha256 : str or None
        Of its content, if asked for.
    extra : dict
        The other columns of the manifest.
    """

    path: str
    key: str
    status: Status
    score: float | None = None
    uncertainty: float | None = None
    code: str | None = None
    message: str | None = None
    warnings: tuple[dict[str, Any], ...] = ()
    segments: tuple[dict[str, Any], ...] = ()
    frames: tuple[tuple[float, float], ...] = ()
    attributes: dict[str, float] = field(default_factory=dict)
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    codec: str | None = None
    bit_rate: float | None = None
    scored_frames: int | None = None
    dropped_frames: int | None = None
    scale_min: float | None = None
    scale_max: float | None = None
    direction: str | None = None
    model: str | None = None
    model_version: str | None = None
    model_sha256: str | None = None
    library_version: str | None = None
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, `schema` first."""
        plain = asdict(self)
        return {"schema": plain.pop("schema"), **plain}

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Inverse of `to_json`; fields that this version does not know are left out.

        Raises
        ------
        InvalidArgument
            For what is no record, or one of a later schema.
        """
        try:
            data = json.loads(line)
            schema = int(data["schema"])
            known = {f.name for f in fields(cls)}
            values = {name: value for name, value in data.items() if name in known}
            for name in ("warnings", "segments"):
                values[name] = tuple(values.get(name, ()))
            values["frames"] = tuple((float(t), float(s)) for t, s in values.get("frames", ()))
            record = cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidArgument(
                f"record: must be an object with schema, path, key, status: {error}"
            ) from error
        if schema > SCHEMA:
            raise InvalidArgument(
                f"record: schema must be at most {SCHEMA}, got {schema}; a newer vqafast wrote it"
            )
        return record


def scored(assessment: Assessment, *, frames: bool, size: int | None) -> dict[str, Any]:
    """Fields of a `Record` that an assessment has; `frames` keeps those of every sample."""
    a = assessment
    video, counts = a.video, a.counts
    return {
        "status": "scored",
        "score": a.score,
        "uncertainty": None if a.uncertainty is None else a.uncertainty.half_width,
        "warnings": tuple(asdict(w) for w in a.warnings),
        "segments": tuple(asdict(s) for s in a.segments),
        "frames": tuple((f.pts, f.score) for f in a.frames) if frames else (),
        "attributes": {x.name: x.value for x in a.attributes},
        "duration": video.duration,
        "width": video.display_width,
        "height": video.display_height,
        "frame_rate": video.frame_rate,
        "codec": video.codec,
        "bit_rate": 8 * size / video.duration if size and video.duration else None,
        "scored_frames": counts.scored,
        "dropped_frames": counts.dropped,
        "scale_min": a.scale.min,
        "scale_max": a.scale.max,
        "direction": a.scale.direction,
        "model": a.model.name,
        "model_version": a.model.version,
        "model_sha256": a.model.weights_sha256,
        "library_version": a.library_version,
        "stages": {name: round(value, 6) for name, value in asdict(a.timings).items()},
    }


def failed(error: VqafastError) -> dict[str, Any]:
    """Fields of a `Record` of a file that could not be scored."""
    return {"status": "failed", "code": error.code, "message": str(error)}
