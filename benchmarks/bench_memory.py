"""Peak memory by length: ``python benchmarks/bench_memory.py --clip CLIP --height 540``.

CLIP is encoded once and looped by stream copy to 1, 10 and 60 minutes; each is scored in a fresh
process. Memory must not grow with length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _machine import PEAK_RSS_MB, describe
from bench_pipeline import make_clip

from vqafast.training.synthesis import ffmpeg

SCORE = (
    PEAK_RSS_MB
    + """
import json, sys, time, vqafast
begun = time.perf_counter()
a = vqafast.assess(sys.argv[1])
seconds = round(time.perf_counter() - begun, 1)
print(json.dumps({"score": round(a.score, 3), "scored": len(a.frames), "seconds": seconds,
                  "peak_rss_mb": peak_rss_mb()}))
"""
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--height", type=int, default=540)
    parser.add_argument("--minutes", default="1,10,60")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clip, _ = make_clip(options.clip, options.height, 10, Path(folder))
        for minutes in map(int, options.minutes.split(",")):
            long = Path(folder) / "long.mp4"
            loop = ["-stream_loop", "-1", "-i", str(clip), "-t", str(60 * minutes), "-c", "copy"]
            ffmpeg.run([*loop, str(long)])
            done = subprocess.run(
                [sys.executable, "-c", SCORE, str(long)], capture_output=True, text=True, check=True
            )
            rows.append({"minutes": minutes, "height": options.height, **json.loads(done.stdout)})
            print(rows[-1], flush=True)
    if options.out:
        options.out.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
