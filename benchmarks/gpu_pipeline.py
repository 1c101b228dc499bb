"""Scoring on a GPU end to end: ``python benchmarks/gpu_pipeline.py run --clips FOLDER --out results``.

For every file of FOLDER, in every round, interleaved, and with as many videos at once as there are decoders,
copies of it are

* decoded whole and thrown away ("decode all"),
* decoded as far as scoring decodes them, and thrown away ("decode the same"), both by scoring's decoder,
* scored by `Scorer.assess_many`,
* scored by the same pipeline with the model in plain PyTorch (`gpu_plain.py`).

Medians of the rounds and their ratios. The busy seconds of each stage are those of single videos, scored one
at a time: of several at once they would hold the wait for the others' turn with the model.

``make`` encodes FOLDER from one clip (H.264 and HEVC, 540p to 2160p), on any machine with FFmpeg's encoders;
``run`` needs neither network nor compiler. `gpu_report.py --clips FOLDER` does the same after the kernels.
Files are measured in a second process: one that cannot be scored, or at which the process dies, costs its own
row only. Results are written after every file, and each has an equal share of what is left of ``--budget``
seconds. Exits with 1 if there is no file, or one failed or was not reached.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import describe
from gpu_supervise import Record, add_worker, run_cases, started, succeeded, supervise
from gpu_tables import STAGES, markdown

if TYPE_CHECKING:
    from gpu_sides import Sides

HEIGHTS = (540, 720, 1080, 1440, 2160)
CODECS = {"h264": ["-c:v", "libx264", "-crf", "23"], "hevc": ["-c:v", "libx265", "-crf", "26"]}
ALONE = 3  # videos scored one at a time
LEAST_SECONDS = 60  # in which a file must be done, however short its share of the time


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


def measure(path: str, plan: dict[str, Any], sides: Sides, share: float) -> dict[str, Any]:
    """One row, in about `share` seconds where one round takes no longer."""
    from gpu_sides import each

    begun = time.perf_counter()
    calls, row = sides.calls(), dict[str, Any]()
    warm = each(calls, [path] * sides.videos, row)
    seen = list(warm["score"][1])
    first = seen[0]
    frames = warm["decode_all"][1][0]
    if "plain" in warm:
        row["plain_differs"] = abs(warm["plain"][1][0].score - first.score)
    warm_seconds = sum(seconds for seconds, _ in warm.values())
    alone = sides.scored(sides.ours, [path] * ALONE, videos=1)
    seen += alone
    left = share - (time.perf_counter() - begun)
    repeats = plan["repeats"] if warm_seconds * plan["repeats"] * plan["rounds"] < left else 1
    paths = [path] * (sides.videos * repeats)
    rounds: list[dict[str, tuple[float, Any]]] = []
    next_one = 0.0
    while len(rounds) < plan["rounds"] and (not rounds or time.perf_counter() - begun + next_one < share):
        rounds.append(each(calls, paths, row))
        next_one = 1.1 * sum(seconds for seconds, _ in rounds[-1].values())
        seen += rounds[-1]["score"][1]
    seconds = {name: [done[name][0] for done in rounds] for name in calls}
    fps = {name: frames * len(paths) / statistics.median(spent) for name, spent in seconds.items()}

    def compare(key: str, name: str) -> None:
        """How many times as long `name` takes as scoring."""
        ratios = [other / ours for other, ours in zip(seconds[name], seconds["score"], strict=True)]
        row[key] = round(statistics.median(ratios), 3)
        row[f"{key}_range"] = [round(min(ratios), 3), round(max(ratios), 3)]

    compare("of_decode_all", "decode_all")
    compare("of_decode_same", "decode_same")
    if "plain" in calls:
        compare("against_plain", "plain")
    stages = {s: round(statistics.median(getattr(a.timings, s) for a in alone), 4) for s in STAGES}
    remarks = {warning.code: warning.message for a in seen for warning in a.warnings}
    pictures = {first.counts.decoded, *warm["decode_same"][1]}
    if len(pictures) > 1:
        remarks["pictures_differ"] = (
            f"decoding alone and scoring decoded different numbers: {sorted(pictures)}"
        )
    return row | {
        "decoder": ", ".join(sorted({a.decoder for a in seen})),
        "engine": first.engine,
        "precision": first.precision,
        "videos": len(paths),
        "rounds": len(rounds),
        "frames": frames,
        "pictures": first.counts.decoded,
        "score": round(first.score, 3),
        "fps": {name: round(value, 1) for name, value in fps.items()},
        "videos_per_s": round(len(paths) / statistics.median(seconds["score"]), 3),
        "stage_s": stages,
        "stage_fps": {stage: round(frames / max(spent, 1e-4), 1) for stage, spent in stages.items()},
        "seconds": {name: [round(x, 4) for x in spent] for name, spent in seconds.items()},
        "warnings": remarks,
    }


# The processes


def work(record: Record, until: float) -> int:
    """Measure the files of the plan; each has an equal share of the time that is left."""
    plan = record.part("pipeline")["plan"]
    loaded: list[Sides] = []

    def sides() -> Sides:
        """Loaded for the first file, whose row then says what keeps them from it."""
        from gpu_sides import Sides

        if not loaded:
            loaded.append(Sides(plan["device"], plan["videos"]))
        return loaded[0]

    def share(left: int) -> float:
        return (until - time.monotonic()) / left

    def measured(path: str, left: int) -> dict[str, Any]:
        row = measure(path, plan, sides(), share(left))
        print(f"{Path(path).stem}: {row['fps']}", file=sys.stderr, flush=True)
        return row

    files = plan["files"]
    cases = [({"file": Path(f).stem}, partial(measured, f, len(files) - i)) for i, f in enumerate(files)]
    return run_cases(
        record,
        "pipeline",
        cases,
        limit=lambda left: max(LEAST_SECONDS, int(3 * share(left))),
        healthy=lambda: not loaded or loaded[0].ours.device_failure() is None,
    )


def planned(clips: Path, options: argparse.Namespace, rounds: int) -> dict[str, Any]:
    """The part of a results file that `work` fills."""
    files = sorted(
        clips.glob("*.mp4"), key=lambda p: (int(m[0]) if (m := re.match(r"\d+", p.name)) else 0, p)
    )
    plan = {
        "clips": str(clips),
        "files": [str(path.resolve()) for path in files],
        "device": "cuda:0" if options.device == "cuda" else options.device,
        "videos": options.videos,
        "repeats": options.repeats,
        "rounds": rounds,
    }
    part = {"plan": plan, **started()}
    part["progress"]["total"] = len(files)
    return part


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Arguments of `planned`."""
    parser.add_argument("--videos", type=int, default=8, help="videos at once")
    parser.add_argument("--repeats", type=int, default=2, help="files in a round, for each video at once")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="encode the clips")
    making.add_argument("--clip", type=Path, required=True)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--seconds", type=int, default=10)
    running = commands.add_parser("run", help="measure")
    running.add_argument("--clips", type=Path, required=True)
    running.add_argument(
        "--out", type=Path, help="folder that receives gpu_pipeline.json and gpu_pipeline.md"
    )
    running.add_argument("--device", default="cuda:0")
    running.add_argument("--rounds", type=int, default=3, help="at most; fewer where the time is short")
    running.add_argument("--budget", type=float, default=420.0, help="seconds that all files may take")
    running.add_argument("--commit", help="where the working tree is not a git checkout")
    add_plan(running)
    add_worker(commands)
    options = parser.parse_args()
    if options.command == "make":
        make(options.clip, options.out, options.seconds)
        return 0
    if options.command == "work":
        return work(Record.read(options.path), options.until)
    machine = describe()
    machine["commit"] = options.commit or machine["commit"]
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        state = {"machine": machine, **planned(options.clips, options, options.rounds)}
        record = Record(out / "gpu_pipeline.json", state)
        record.save()
        if state["progress"]["total"]:
            record = supervise(record.path, "pipeline", Path(__file__).name, options.budget)
        print(markdown(record.state), flush=True)
    return 0 if succeeded(record.part("pipeline")) else 1


if __name__ == "__main__":
    sys.exit(main())
