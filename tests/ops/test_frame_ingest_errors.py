"""Every documented error of frame_ingest, in its words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.ops.samples_video import Layout, picture

from vqafast.ops import frame_ingest

FRAME = picture(16, 12)
CROP = [(0, 0, 16, 12)]
ERRORS: dict[str, tuple[Any, Any, Any, dict[str, Any], str]] = {
    "crop outside": (
        FRAME,
        [(1, 0, 16, 12)],
        (4, 4),
        {},
        "crop 0 must be non-empty and lie inside the 16x12",
    ),
    "crop outside, turned": (FRAME.turned(90), CROP, (4, 4), {}, "inside the 12x16 picture"),
    "empty crop": (FRAME, [(0, 0, 0, 12)], (4, 4), {}, "crop 0 must be non-empty"),
    "negative crop": (FRAME, [(-1, 0, 4, 4)], (4, 4), {}, "crop 0 must"),
    "no crops": (FRAME, np.zeros((0, 4), np.int32), (4, 4), {}, r"\(K, 4\) with K at least 1"),
    "crops of three": (FRAME, [(0, 0, 16)], (4, 4), {}, r"crops must have shape \(K, 4\)"),
    "one crop alone": (FRAME, (0, 0, 16, 12), (4, 4), {}, r"crops must have 2 dimensions \(K, 4\)"),
    "float crops": (FRAME, [(0.0, 0, 16, 12)], (4, 4), {}, "crops must be integers, got float64"),
    "huge crops": (FRAME, [(2**40, 0, 16, 12)], (4, 4), {}, "crops must fit in int32"),
    "empty output": (FRAME, CROP, (0, 4), {}, r"out_size must be at least \(1, 1\)"),
    "output": (FRAME, CROP, (4, 4), {"output": "bgr"}, "output must be one of rgb, luma, got 'bgr'"),
    "layout": (FRAME, CROP, (4, 4), {"layout": "chw"}, "layout must be one of nchw, nhwc"),
    "dtype": (FRAME, CROP, (4, 4), {"dtype": "float64"}, "dtype must be one of float32, float16"),
    "mean": (FRAME, CROP, (4, 4), {"mean": (0.1, 0.2)}, "mean must be one number or 3, got 2"),
    "nan mean": (FRAME, CROP, (4, 4), {"mean": float("nan")}, "mean must be finite"),
    "std": (FRAME, CROP, (4, 4), {"std": 0.0}, "std must be positive and finite, got 0"),
    "threads": (FRAME, CROP, (4, 4), {"threads": -1}, "threads must be 0"),
    "out shape": (
        FRAME,
        CROP,
        (4, 4),
        {"out": np.zeros((1, 3, 4, 5), np.float32)},
        "out must have the shape",
    ),
    "out dtype": (FRAME, CROP, (4, 4), {"out": np.zeros((1, 3, 4, 4))}, "out must be float32, got float64"),
    "matrix": (picture(16, 12, matrix="rgb"), CROP, (4, 4), {}, "matrix must be one of bt601, bt709, bt2020"),
    "rotation": (FRAME.turned(45), CROP, (4, 4), {}, "rotation must be 0, 90, 180 or 270, got 45"),
    "size": (replace(FRAME, width=20), CROP, (4, 4), {}, r"plane Y must have the frame's shape \(12, 20\)"),
    "planes": (replace(FRAME, planes=FRAME.planes[:2]), CROP, (4, 4), {}, "planes must hold 3 arrays"),
    "bit depth": (replace(FRAME, layout=Layout(bit_depth=10)), CROP, (4, 4), {}, "10 bits must be uint16"),
    "bit depth 7": (
        replace(FRAME, layout=Layout(bit_depth=7)),
        CROP,
        (4, 4),
        {},
        "bit_depth must lie in 8..16",
    ),
    "shift": (
        replace(FRAME, layout=Layout(chroma_shift_x=3)),
        CROP,
        (4, 4),
        {},
        "chroma_shift_x must lie in",
    ),
    "chroma size": (
        replace(FRAME, planes=(FRAME.planes[0],) * 3),
        CROP,
        (4, 4),
        {},
        "plane U must have 6 rows of 8 samples, got shape",
    ),
    "samples apart": (
        replace(FRAME, planes=tuple(np.repeat(p, 2, 1)[:, ::2] for p in FRAME.planes)),
        CROP,
        (4, 4),
        {},
        "samples of a row of plane Y must be adjacent in memory",
    ),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case: tuple[Any, Any, Any, dict[str, Any], str]) -> None:
    frame, crops, size, options, message = case
    with pytest.raises(ValueError, match=f"^frame_ingest: .*{message}"):
        frame_ingest(frame, crops, size, **options)


def test_read_only_out_is_refused() -> None:
    out = np.zeros((1, 3, 4, 4), np.float32)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out must be writable"):
        frame_ingest(FRAME, CROP, (4, 4), out=out)
