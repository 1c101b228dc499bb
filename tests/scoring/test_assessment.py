"""The record of a run: to JSON and back, and the published schema of it."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

import pytest

from vqafast.errors import InvalidArgument
from vqafast.scoring import assessment as a

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "assessment.schema.json").read_text())


def example(**changes: object) -> a.Assessment:
    values = a.Assessment(
        path="clip.mp4",
        score=63.4,
        scale=a.Scale("vmaf-like", 0.0, 100.0, "higher_is_better", "predicted VMAF"),
        pooling="mean",
        frames=(a.FrameScore(0, 0.0, 60.0), a.FrameScore(15, 0.5, 66.8)),
        segments=(a.Segment(0.0, 2.0, 63.4, 2),),
        spread=a.Spread(2, 1.5, None, None, (62.0, 64.8)),
        model=a.ModelInfo("a2inet-lite", "1", "0" * 64),
        library_version="0.1.0",
        sampling=a.SamplingInfo("time_grid", 2.0, None, 2, 8, 2),
        device="cpu",
        engine="openvino 2026.4",
        precision="f32",
        threads=2,
        decoder="h264",
        video=a.VideoSummary(
            "mp4", "h264", 64, 48, 64, 48, 0, "1:1", "yuv420p", 8, "bt601", False, "bt709", 30.0, None
        ),
        counts=a.Counts(10, 5, 2, 0, 0, 0),
        warnings=(a.WarningNote("odd", "é ← ok"),),
        timings=a.Timings(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    )
    return dataclasses.replace(values, **changes)


def validate(data: object) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_round_trip():
    full = example(
        uncertainty=a.Uncertainty(4.1, 59.3, 67.5, 0.68, 4, 2.2, "against VMAF"),
        display=a.DisplayInfo(1920, 1080, 1440, 1080),
        bitstream=(a.BitstreamValue("qp", 0.5),),
        segments=(a.Segment(0.0, 2.0, 63.4, 2, 5.0),),
    )
    for record in (example(), example(spread=None, segments=(), warnings=()), full):
        assert a.Assessment.from_json(record.to_json()) == record
        assert a.Assessment.from_dict(record.to_dict()) == record
        validate(json.loads(record.to_json(indent=2)))


def test_schema_describes_exactly_the_fields():
    def check(kind: type, schema: dict[str, typing.Any]) -> None:
        hints = typing.get_type_hints(kind)
        assert set(schema["properties"]) == set(hints) == set(schema["required"]), kind
        for name, hint in hints.items():
            inner = [k for k in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(k)]
            below = schema["properties"][name]
            if inner:
                check(inner[0], below.get("items") or (below["anyOf"][0] if "anyOf" in below else below))

    check(a.Assessment, SCHEMA)


def test_unknown_keys_of_a_later_library_are_ignored():
    data = example().to_dict()
    data["novelty"] = 1
    data["scale"]["novelty"] = 2
    assert a.Assessment.from_dict(data) == example()


def test_documents_from_before_the_added_fields_are_read():
    data = example().to_dict()
    for name in ("uncertainty", "display", "bitstream", "attributes", "maps"):
        del data[name]
    del data["segments"][0]["uncertainty"]
    assert a.Assessment.from_dict(data) == example()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("schema",), 2, "schema must be 1, got 2"),
        (("score",), "high", "assessment.score: must be float, got str"),
        (("counts", "decoded"), 1.5, "assessment.counts.decoded: must be int, got float"),
        (("counts", "decoded"), True, "assessment.counts.decoded: must be int, got bool"),
        (("frames",), {}, "assessment.frames: must be a list"),
        (("scale",), None, "assessment.scale: must be an object"),
        (("scale", "direction"), "up", "must be one of higher_is_better"),
    ],
)
def test_wrong_documents_are_refused(place, value, message):
    data = example().to_dict()
    target = data
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    with pytest.raises(InvalidArgument, match=message):
        a.Assessment.from_dict(data)


def test_missing_key_is_named():
    data = example().to_dict()
    del data["frames"][1]["pts"]
    with pytest.raises(InvalidArgument, match=r"frames\[1\]: key 'pts' must be present"):
        a.Assessment.from_dict(data)
    with pytest.raises(InvalidArgument, match="must be JSON"):
        a.Assessment.from_json("{")


def test_numbers_must_be_finite():
    with pytest.raises(InvalidArgument, match="finite, got nan"):
        example(score=float("nan")).to_dict()


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().score = 1.0  # type: ignore[misc]
