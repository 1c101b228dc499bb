"""Encoding one version and labelling it with libvmaf against its clean master."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqafast.training.synthesis import ffmpeg
from vqafast.training.synthesis.workflow import Recipe, encoder_arguments

if TYPE_CHECKING:
    from vqafast.training.synthesis.sources import Master

#: Pinned: the label's meaning is part of the model card.
VMAF_MODEL = "version=vmaf_v0.6.1"


def encode(master: Master, recipe: Recipe, stem: Path) -> Path:
    """Encode `recipe` of `master`; the suffix is chosen by the codec."""
    options, suffix = encoder_arguments(recipe)
    chain = list(recipe.filters)
    if recipe.scale != 1.0:
        width = max(32, int(master.width * recipe.scale) // 2 * 2)
        height = max(32, int(master.height * recipe.scale) // 2 * 2)
        chain.append(f"scale={width}:{height}:flags=bicubic")
    chain.append("format=yuv420p")
    out = stem.with_suffix(suffix)
    partial = stem.with_suffix(".part" + suffix)
    ffmpeg.run(
        ["-i", str(master.path), "-vf", ",".join(chain), *options, "-fps_mode", "passthrough", str(partial)]
    )
    partial.replace(out)
    return out


def upscale_filter(master: Master) -> str:
    """How a rendition is brought back to the master's size, for labelling and for training."""
    return f"scale={master.width}:{master.height}:flags=bicubic"


def vmaf(version: Path, master: Master) -> dict[str, Any]:
    """Per-frame and mean VMAF of `version`; frames are paired by index.

    Raises
    ------
    FfmpegError
        When the version does not hold exactly the master's number of frames.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vmaf.json"
        # the same time base on both sides: a rounded timestamp would pair neighbouring frames
        by_index = "settb=1/25,setpts=N"
        graph = (
            f"[0:v]{upscale_filter(master)},format=yuv420p,{by_index}[d];"
            f"[1:v]format=yuv420p,{by_index}[r];"
            f"[d][r]libvmaf=model={VMAF_MODEL}:n_threads=1:log_fmt=json:log_path={log}"
        )
        ffmpeg.run(
            [
                "-threads",
                "1",
                "-i",
                str(version),
                "-threads",
                "1",
                "-i",
                str(master.path),
                "-lavfi",
                graph,
                "-f",
                "null",
                "-",
            ]
        )
        report = json.loads(log.read_text(encoding="utf-8"))
    frames = [round(float(frame["metrics"]["vmaf"]), 3) for frame in report["frames"]]
    if len(frames) != master.frames:
        raise ffmpeg.FfmpegError(f"vmaf: {version.name} must have {master.frames} frames, got {len(frames)}")
    return {"vmaf": round(sum(frames) / len(frames), 3), "vmaf_frames": frames}
