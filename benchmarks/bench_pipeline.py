"""End-to-end speed by resolution: ``python benchmarks/bench_pipeline.py --clip CLIP --out results``.

CLIP is looped, scaled and encoded (x264, CRF 23, 30 frames/s) at each resolution. In every round,
interleaved, the same file is decoded whole with PyAV (frame threads, nothing converted) and scored
by a warm `Scorer`; medians of the rounds are reported with their ratio. Once per resolution
FFmpeg's libvmaf scores the file against its source, and a fresh process measures peak memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
from _machine import PEAK_RSS_MB, describe

import vqafast
from vqafast.training.synthesis import ffmpeg

RESOLUTIONS = {"540p": 540, "720p": 720, "1080p": 1080, "1440p": 1440, "2160p": 2160}
STAGES = ("open", "decode", "ingest", "backbone", "head", "total")
PEAK = PEAK_RSS_MB + "import sys, vqafast; vqafast.score(sys.argv[1]); print(peak_rss_mb())"


def make_clip(source: Path, height: int, seconds: int, folder: Path) -> tuple[Path, Path]:
    """The distorted file to score and a near-lossless reference of the same pictures."""
    width = height * 16 // 9
    chain = f"scale={width}:{height}:flags=bicubic,setsar=1,fps=30,format=yuv420p"
    encoded = {}
    for name, crf in (("reference", 6), ("clip", 23)):
        encoded[name] = folder / f"{height}_{name}.mp4"
        looped = ["-stream_loop", "-1", "-t", str(seconds), "-i", str(source), "-vf", chain, "-an"]
        codec = ["-c:v", "libx264", "-preset", "medium" if crf == 23 else "ultrafast", "-crf", str(crf)]
        ffmpeg.run([*looped, "-frames:v", str(30 * seconds), *codec, str(encoded[name])], timeout=3600)
    return encoded["clip"], encoded["reference"]


def decode_all(path: Path) -> int:
    """Decode every frame with PyAV, as fast as it goes; the budget's yardstick."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "FRAME"
        return sum(1 for _ in container.decode(stream))


def timed(call: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def vmaf_seconds(clip: Path, reference: Path, threads: int) -> float:
    """FFmpeg's libvmaf, full reference, all frames, with as many threads."""
    graph = f"[0:v]settb=1/30,setpts=N[d];[1:v]settb=1/30,setpts=N[r];[d][r]libvmaf=n_threads={threads}"
    arguments = ["-i", str(clip), "-i", str(reference), "-lavfi", graph, "-f", "null", "-"]
    return timed(lambda: ffmpeg.run(arguments, timeout=3600))[0]


def measure(name: str, clip: Path, reference: Path, options: argparse.Namespace) -> dict[str, Any]:
    scorer = vqafast.Scorer(threads=options.threads)
    decode_all(clip)
    scorer.assess(clip)
    decode, score, assessments = [], [], []
    for _ in range(options.rounds):
        seconds, frames = timed(lambda: decode_all(clip))
        decode.append(seconds)
        seconds, assessment = timed(lambda: scorer.assess(clip))
        score.append(seconds)
        assessments.append(assessment)
    stages = {s: round(statistics.median(a.to_dict()["timings"][s] for a in assessments), 4) for s in STAGES}
    ratios = [s / d for s, d in zip(score, decode, strict=True)]
    peak = subprocess.run([sys.executable, "-c", PEAK, str(clip)], capture_output=True, text=True, check=True)
    return {
        "resolution": name,
        "frames": frames,
        "scored": len(assessments[0].frames),
        "score": round(assessments[0].score, 3),
        "decode_s": round(statistics.median(decode), 4),
        "score_s": round(statistics.median(score), 4),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "frames_per_s": round(frames / statistics.median(score), 1),
        "stages_s": stages,
        "libvmaf_s": round(vmaf_seconds(clip, reference, scorer_threads(assessments[0])), 3),
        "peak_rss_mb": int(peak.stdout.strip()),
    }


def scorer_threads(assessment: Any) -> int:
    return int(assessment.to_dict()["threads"])


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| resolution | decode all, s | score, s | score / decode | frames/s | libvmaf, s | peak MB |"
        " decode | ingest | backbone | head |",
        "|--|--|--|--|--|--|--|--|--|--|--|",
    ]
    for r in rows:
        s = r["stages_s"]
        lines.append(
            f"| {r['resolution']} | {r['decode_s']:.2f} | {r['score_s']:.2f} | {r['ratio']:.2f} "
            f"({r['ratio_range'][0]:.2f}-{r['ratio_range'][1]:.2f}) | {r['frames_per_s']:.0f} | "
            f"{r['libvmaf_s']:.1f} | {r['peak_rss_mb']} | {s['decode']:.2f} | {s['ingest']:.2f} | "
            f"{s['backbone']:.2f} | {s['head']:.3f} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], title: str, out: Path) -> None:
    """Frames per second by resolution, logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = [r["resolution"] for r in rows]
    figure, axes = plt.subplots(figsize=(6, 4))
    for label, key in (("decode only (PyAV)", "decode_s"), ("vqafast", "score_s"), ("libvmaf", "libvmaf_s")):
        axes.plot(names, [r["frames"] / r[key] for r in rows], marker="o", label=label)
    axes.set(yscale="log", ylabel="frames per second", title=title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clip", type=Path, required=True, help="any clip; it is looped and scaled")
    parser.add_argument("--out", type=Path, help="folder for pipeline.json, pipeline.md, pipeline.png")
    parser.add_argument("--resolutions", default=",".join(RESOLUTIONS))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    machine, rows = describe(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.resolutions.split(","):
            clips = make_clip(options.clip, RESOLUTIONS[name], options.seconds, Path(folder))
            rows.append(measure(name, *clips, options))
            print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        result = {"machine": machine, "clip": options.clip.name, "rounds": options.rounds, "rows": rows}
        (options.out / "pipeline.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (options.out / "pipeline.md").write_text(table(rows) + "\n", encoding="utf-8")
        title = f"{options.seconds} s H.264, 30 frames/s, {machine['cores']} cores"
        plot(rows, title, options.out / "pipeline.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
