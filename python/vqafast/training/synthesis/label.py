"""Encoding one version and labelling it with libvmaf against its clean master."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqafast.training.synthesis import ffmpeg
from vqafast.training.synthesis.encoders import encoder_arguments

if TYPE_CHECKING:
    from vqafast.training.synthesis.sources import Master
    from vqafast.training.synthesis.workflow import Recipe

#: Pinned: the label's meaning is part of the model card.
VMAF_MODEL = "version=vmaf_v0.6.1"


def encode(master: Master, recipe: Recipe, stem: Path) -> Path:
    """Encode `recipe` of `master`; the suffix is chosen by the codec."""
    options, suffix = encoder_arguments(recipe.codec, recipe.quantizer, recipe.preset)
    # exact times: Matroska rounds them to milliseconds
    chain = [f"setpts=N/({master.rate:.6f}*TB)", *recipe.filters]
    if recipe.scale != 1.0:
        width = max(32, int(master.width * recipe.scale) // 2 * 2)
        height = max(32, int(master.height * recipe.scale) // 2 * 2)
        chain.append(f"scale={width}:{height}:flags=bicubic")
    elif "upscaled" in recipe.steps:
        chain.append(f"scale={master.width}:{master.height}:flags=bicubic")
    chain.append("format=yuv420p")
    # names of sources may hold dots, so nothing may be taken for a suffix and replaced
    out = stem.with_name(stem.name + suffix)
    partial = stem.with_name(f"{stem.name}.part{suffix}")
    with tempfile.TemporaryDirectory() as folder:
        origin = master.path
        if recipe.earlier is not None:
            first, kind = encoder_arguments(*recipe.earlier)
            origin = Path(folder) / f"earlier{kind}"
            ffmpeg.run(["-i", str(master.path), *first, "-fps_mode", "passthrough", str(origin)])
        ffmpeg.run(
            ["-i", str(origin), "-vf", ",".join(chain), *options, "-fps_mode", "passthrough", str(partial)]
        )
    partial.replace(out)
    return out


def display_filter(width: int, height: int, scaler: str) -> str:
    """How a rendition is brought to the master's size, for labelling and for training."""
    return f"scale={width}:{height}:flags={scaler}"


def vmaf(version: Path, master: Master, recipe: Recipe) -> dict[str, Any]:
    """VMAF of every frame shown, paired by index, missing ones shown again; their mean without those.

    A frame shown again in place of a missing one is out of place, which VMAF was not made to judge and
    nobody can see without the original: a lower frame rate alone is no fault.

    Raises
    ------
    FfmpegError
        When the version does not show exactly the master's number of frames.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vmaf.json"
        # the same time base on both sides: a rounded timestamp would pair neighbouring frames
        by_index = "settb=1/25,setpts=N"
        repeat = "split[a][b];[a][b]interleave" if recipe.step == 2 else "null"
        graph = (
            f"[0:v]{display_filter(master.width, master.height, recipe.scaler)},format=yuv420p,"
            f"{by_index},{repeat},{by_index},trim=end_frame={master.frames}[d];"
            f"[1:v]format=yuv420p,{by_index}[r];"
            f"[d][r]libvmaf=model={VMAF_MODEL}:n_threads=1:log_fmt=json:log_path={log}"
        )
        inputs = ["-threads", "1", "-i", str(version), "-threads", "1", "-i", str(master.path)]
        ffmpeg.run([*inputs, "-lavfi", graph, "-f", "null", "-"])
        report = json.loads(log.read_text(encoding="utf-8"))
    frames = [round(float(frame["metrics"]["vmaf"]), 3) for frame in report["frames"]]
    shown = _count(version) * recipe.step
    if len(frames) != master.frames or not 0 <= shown - master.frames < recipe.step:
        raise ffmpeg.FfmpegError(f"vmaf: {version.name} must show {master.frames} frames, got {shown}")
    own = frames[:: recipe.step]
    return {"vmaf": round(sum(own) / len(own), 3), "vmaf_frames": frames}


def _count(path: Path) -> int:
    """Shown frames of a file: one a packet in every codec of the workflow."""
    import av

    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)
