"""Write golden.json again: ``python -m tests.golden.make_golden``; do so only with a new model version."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests import clips

import vqafast

GOLDEN = Path(__file__).with_name("golden.json")


def x264(crf: int) -> dict[str, str]:
    """Options under which x264 writes the same file every time; with its macroblock tree it does not."""
    return {"crf": str(crf), "x264-params": "threads=1:mbtree=0:rc-lookahead=0:sync-lookahead=0"}


#: Coarse enough for the model to see blocks, blur and noise; small enough to encode in a second.
CLIPS: dict[str, clips.Clip] = {
    "crf18.mp4": clips.Clip(width=480, height=270, frames=60, options=x264(18)),
    "crf32.mp4": clips.Clip(width=480, height=270, frames=60, options=x264(32)),
    "crf46.mp4": clips.Clip(width=480, height=270, frames=60, options=x264(46)),
    "portrait.mp4": clips.Clip(width=270, height=480, frames=60, options=x264(30)),
    "tenbit.mp4": clips.Clip(width=480, height=270, frames=60, pix_fmt="yuv420p10le", options=x264(30)),
    "lossless.mkv": clips.Clip("ffv1", width=480, height=270, frames=60),
}


def main() -> None:
    scorer = vqafast.Scorer()
    spec = scorer.spec
    golden = {"model": spec.name, "weights_sha256": spec.weights_sha256, "scores": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, clip in CLIPS.items():
            path = Path(folder) / name
            clips.encode(path, clip)
            result = scorer.assess(path)
            golden["scores"][name] = {
                "score": round(result.score, 4),
                "frames": [round(f.score, 4) for f in result.frames],
            }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
