"""Scoring on a GPU end to end: ``python benchmarks/gpu_pipeline.py run --clips FOLDER --out results``.

For every file of FOLDER, in every round, interleaved: as many copies of it as there are decoders are

* decoded whole by the same decoder and thrown away ("decode only"),
* scored by `Scorer.assess_many`,
* scored by the same pipeline with the model in plain PyTorch (`gpu_plain.py`).

Medians of the rounds, their ratios, and the busy seconds of each stage. ``make`` encodes FOLDER from one
clip (H.264 and HEVC, 540p to 2160p), on any machine; ``run`` needs neither network nor compiler.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import describe
from gpu_plain import PlainRuntime

from vqafast.engines.cuda_driver import probe
from vqafast.scoring.devices import gpu_index
from vqafast.scoring.scorer import Scorer
from vqafast.scoring.sharing import SharedRuntime
from vqafast.video.pyav import PyAVSource

if TYPE_CHECKING:
    from collections.abc import Callable

HEIGHTS = (540, 720, 1080, 1440, 2160)
CODECS = {"h264": ["-c:v", "libx264", "-crf", "23"], "hevc": ["-c:v", "libx265", "-crf", "26"]}
STAGES = ("open", "decode", "ingest", "backbone", "head")


def make(clip: Path, folder: Path, seconds: int) -> None:
    """Encode `clip`, looped and scaled, at every height and with every codec."""
    from vqafast.training.synthesis import ffmpeg

    folder.mkdir(parents=True, exist_ok=True)
    for height in HEIGHTS:
        for codec, arguments in CODECS.items():
            chain = f"scale={height * 16 // 9 // 2 * 2}:{height}:flags=bicubic,setsar=1,fps=30,format=yuv420p"
            looped = ["-stream_loop", "-1", "-t", str(seconds), "-i", str(clip), "-vf", chain, "-an"]
            out = folder / f"{height}p_{codec}.mp4"
            ffmpeg.run(
                [*looped, "-frames:v", str(30 * seconds), *arguments, "-preset", "veryfast", str(out)],
                timeout=3600,
            )
            print(f"{out} {out.stat().st_size >> 10} KiB", file=sys.stderr)


def decode_all(path: str, gpu: int | None) -> int:
    """Decode every frame and throw it away; nothing is converted or copied by us."""
    with PyAVSource(path, gpu=gpu) as source:
        decoder = source._decoder
        frames = sum(len(decoder.decode(packet)) for packet in decoder.packets())
        return frames + len(decoder.decode(None))


def decoded(paths: list[str], gpu: int | None, videos: int) -> int:
    with ThreadPoolExecutor(videos) as pool:
        return sum(pool.map(lambda path: decode_all(path, gpu), paths))


def scored(scorer: Scorer, paths: list[str], videos: int) -> list[Any]:
    outcomes = list(scorer.assess_many(paths, videos=videos))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.assessment for outcome in outcomes]


def plain_scorer(device: str) -> Scorer:
    """The pipeline of `Scorer`, with the model in plain PyTorch."""
    scorer = Scorer(device=device)
    scorer._runtime = SharedRuntime(PlainRuntime(device))  # type: ignore[arg-type]
    return scorer


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    gpu, videos = gpu_index(options.device), options.videos
    paths = [str(path)] * (options.repeats * videos)
    ours, plain = Scorer(device=options.device), plain_scorer(options.device)
    frames = decoded(paths[:videos], gpu, videos) * options.repeats
    first = scored(ours, paths[:videos], videos)[0]
    off = abs(scored(plain, paths[:1], 1)[0].score - first.score)
    seconds: dict[str, list[float]] = {"decode": [], "score": [], "plain": []}
    stages: list[list[float]] = []
    for _ in range(options.rounds):
        seconds["decode"].append(timed(lambda: decoded(paths, gpu, videos))[0])
        spent, found = timed(lambda: scored(ours, paths, videos))
        seconds["score"].append(spent)
        stages.append([sum(getattr(a.timings, stage) for a in found) for stage in STAGES])
        seconds["plain"].append(timed(lambda: scored(plain, paths, videos))[0])
    ratios = [d / s for d, s in zip(seconds["decode"], seconds["score"], strict=True)]
    gains = [p / s for p, s in zip(seconds["plain"], seconds["score"], strict=True)]
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "file": path.stem,
        "decoder": first.decoder,
        "engine": first.engine,
        "videos": len(paths),
        "frames": frames,
        "score": round(first.score, 3),
        "plain_differs": round(off, 4),
        "decode_fps": round(frames / middle["decode"], 1),
        "score_fps": round(frames / middle["score"], 1),
        "plain_fps": round(frames / middle["plain"], 1),
        "videos_per_s": round(len(paths) / middle["score"], 3),
        "of_decode": round(statistics.median(ratios), 3),
        "of_decode_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "against_plain": round(statistics.median(gains), 2),
        "stage_s": {
            stage: round(statistics.median(row[i] for row in stages), 3) for i, stage in enumerate(STAGES)
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| file | decoder | decode only, frames/s | score, frames/s | videos/s | score / decode (range) |"
        " plain PyTorch, frames/s | ours / plain | open | decode | ingest | backbone | head |",
        "|--|--|--|--|--|--|--|--|--|--|--|--|--|",
    ]
    for r in rows:
        low, high = r["of_decode_range"]
        lines.append(
            f"| {r['file']} | {r['decoder']} | {r['decode_fps']:.0f} | {r['score_fps']:.0f} | "
            f"{r['videos_per_s']:.2f} | {r['of_decode']:.2f} ({low:.2f}-{high:.2f}) | {r['plain_fps']:.0f} | "
            f"{r['against_plain']:.2f} | " + " | ".join(f"{r['stage_s'][s]:.2f}" for s in STAGES) + " |"
        )
    return "\n".join(lines)


def card(device: str) -> str:
    index = gpu_index(device)
    return "none" if index is None else probe().gpus[index].name


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="encode the clips")
    making.add_argument("--clip", type=Path, required=True)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--seconds", type=int, default=10)
    running = commands.add_parser("run", help="measure")
    running.add_argument("--clips", type=Path, required=True)
    running.add_argument("--out", type=Path)
    running.add_argument("--device", default="cuda:0")
    running.add_argument("--videos", type=int, default=8)
    running.add_argument("--repeats", type=int, default=2, help="files in a round, for each video at once")
    running.add_argument("--rounds", type=int, default=3)
    running.add_argument("--commit", help="where the working tree is not a git checkout")
    options = parser.parse_args()
    if options.command == "make":
        make(options.clip, options.out, options.seconds)
        return 0
    machine = {**describe(), "gpu": card(options.device)}
    if options.commit:
        machine["commit"] = options.commit
    rows = []
    for path in sorted(options.clips.glob("*.mp4")):
        rows.append(measure(path, options))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        plan = {k: getattr(options, k) for k in ("device", "videos", "repeats", "rounds")}
        result = {"machine": machine, "plan": plan, "rows": rows}
        (options.out / "gpu_pipeline.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (options.out / "gpu_pipeline.md").write_text(table(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
