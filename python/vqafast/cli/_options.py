"""Options that several commands share."""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from vqafast.errors import InvalidArgument
from vqafast.scoring.segments import KINDS

Model = Annotated[str | None, typer.Option("--model", help="Built-in model name or model directory.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:N, or auto.")]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="openvino, torch or tensorrt.  [default: openvino on the CPU, torch on a GPU]",
        show_default=False,
    ),
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder", help="auto: on the GPU of --device where it can; cpu: never there; dali: by NVIDIA DALI."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="Of the backbones: f32; f16 (torch, tensorrt); bf16 or int8 (openvino)."
    ),
]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads; 0 is all cores this process may use.")]
Workers = Annotated[
    int, typer.Option("--workers", help="Processes; 0 is one for each core, or for each GPU.")
]
Videos = Annotated[int, typer.Option("--videos", help="At once in a process; 0 is 1, on GPUs 8.")]
Memory = Annotated[str | None, typer.Option("--memory", help="A process may hold so much: 2G, 1500M.")]
EachThreads = Annotated[int, typer.Option("--threads", help="Of each process; 0 shares the cores out.")]
Samples = Annotated[int, typer.Option("--samples", help="Draws of patch positions; above 1 gives a spread.")]
Batch = Annotated[int, typer.Option("--batch", help="Samples per call of the backbones.")]
Pooling = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        help="hysteresis, sitp, raw_mean, mean, min, p5 or harmonic.  [default: the model's own]",
        show_default=False,
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window", help="Also score parts: windows of a length (2s, 500ms, 1m), or each gop or shot."
    ),
]
Display = Annotated[
    str | None,
    typer.Option(
        "--display",
        metavar="WIDTHxHEIGHT",
        help="Score as scaled to this display, 1920x1080 for example; else at the video's own resolution.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Scores only: no second line, warning or progress.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Traceback of unexpected errors.")]

_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_UNITS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


def parts(text: str | None) -> float | str | None:
    """What `--window` says: seconds, or one of `KINDS`."""
    if text is None or text in KINDS:
        return text
    try:
        return seconds(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{error}; or {' or '.join(KINDS)}") from None


def seconds(text: str | None, name: str = "window") -> float | None:
    """Seconds of a length like ``2s``, ``500ms``, ``1.5m`` or plain ``2``; `name` is the option's."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _UNITS:
        raise InvalidArgument(f"{name}: must be a length like 2s, 500ms or 1m, got {text!r}")
    value = float(match[1]) * _UNITS[match[2]]
    if not (value > 0 and math.isfinite(value)):
        raise InvalidArgument(f"{name}: must be longer than 0 s, got {text!r}")
    return value


def size(text: str | None, name: str) -> int | None:
    """Bytes of a size like ``2G``, ``1500M`` or ``1Gi``; `name` is the option's."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?\s*", text.lower())
    if match is None or float(match[1]) <= 0:
        raise InvalidArgument(f"{name}: must be a size like 2G, 1500M or 1Gi, got {text!r}")
    return int(float(match[1]) * _SIZES[match[2] or ""])
