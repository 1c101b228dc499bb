"""Recipes: reproducible, all intervals and codecs visited, every filter accepted by FFmpeg."""

import collections
import random

import pytest

pytest.importorskip("imageio_ffmpeg")

from vqafast.training.synthesis import ffmpeg, workflow


def draws(count):
    return [workflow.draw(i, random.Random(f"t/{i}")) for i in range(count)]


def test_same_seed_same_recipes():
    assert draws(50) == draws(50)


def test_groups_codecs_and_intervals_are_covered():
    recipes = draws(600)
    groups = collections.Counter(r.group for r in recipes)
    assert 0.4 < groups["transcode"] / 600 < 0.6
    assert 0.35 < groups["enhance+preprocess"] / (600 - groups["transcode"]) < 0.65
    assert {r.codec for r in recipes} == {"h264", "hevc", "av1", "vp9"}
    h264 = {r.quantizer for r in recipes if r.codec == "h264"}
    assert min(h264) <= 20
    assert max(h264) >= 46
    for i, recipe in enumerate(recipes):
        if recipe.codec in ("h264", "hevc"):
            low, high = workflow.QP_INTERVALS[i % 6]
            assert low <= recipe.quantizer <= high
        else:
            assert 20 <= recipe.quantizer <= 63


def test_every_filter_chain_runs():
    chains = {r.filters for r in draws(300) if r.filters}
    kinds = {f.split("=")[0] for chain in chains for f in chain}
    assert {
        "gblur",
        "noise",
        "hqdn3d",
        "unsharp",
        "spp",
        "avgblur",
        "split[whole][part];[whole]gblur",
    } <= kinds
    seen = set()
    for chain in sorted(chains):
        names = tuple(f.split("=")[0] for f in chain)
        if names in seen:
            continue
        seen.add(names)
        source = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=0.08"]
        ffmpeg.run([*source, "-vf", ",".join(chain) + ",format=yuv420p", "-f", "null", "-"])


def test_failure_names_the_command():
    with pytest.raises(ffmpeg.FfmpegError, match="no_such_filter"):
        ffmpeg.run(["-f", "lavfi", "-i", "testsrc", "-vf", "no_such_filter", "-f", "null", "-"])
