"""Recipes: reproducible, all flows, intervals and codecs visited, every filter accepted by FFmpeg."""

import collections
import random

import pytest

pytest.importorskip("imageio_ffmpeg")

from vqafast.errors import InvalidArgument
from vqafast.training.synthesis import encoders, ffmpeg, filters, workflow

FRAMES, RATE = 28, 25.0


def draws(count):
    return [workflow.draw(i, FRAMES, RATE, random.Random(f"t/{i}")) for i in range(count)]


def test_same_seed_same_recipes():
    assert draws(50) == draws(50)


def test_flows_come_with_their_odds():
    recipes = draws(2000)
    groups = collections.Counter(r.group for r in recipes)
    for group, share in workflow.GROUPS:
        assert abs(groups[group] / 2000 - share) < 0.04, group
    assert {r.codec for r in recipes} == {codec for codec, _ in encoders.CODECS}
    assert 0.25 < sum(r.scale < 1 for r in recipes) / 2000 < 0.35


def test_each_flow_is_what_its_name_says():
    tools = {"deblur", "denoise", "deartifact"}
    for recipe in draws(600):
        steps = set(recipe.steps)
        assert bool(steps & tools) == recipe.group.startswith("enhance")
        assert bool(steps & {"global", "roi"}) == recipe.group.endswith("preprocess")
        assert bool(steps & {"freeze", "half_rate"}) == (recipe.group == "temporal")
        assert ("recompressed" in steps) == (recipe.earlier is not None)
        assert ("rescaled" in steps) == (recipe.scale < 1)
        assert (recipe.step == 2) == ("half_rate" in steps)
        if recipe.group == "transcode":
            assert not recipe.filters
            assert recipe.earlier is None
        if recipe.group == "capture":
            assert recipe.filters or recipe.earlier


def test_quantizers_visit_the_intervals_in_turn():
    for i, recipe in enumerate(draws(600)):
        if recipe.codec in ("h264", "hevc"):
            low, high = workflow.QP_INTERVALS[i % 6]
            assert low <= recipe.quantizer <= high
        elif recipe.codec == "mpeg4":
            assert 2 <= recipe.quantizer <= 31
        else:
            assert 20 <= recipe.quantizer <= 63


def test_every_filter_chain_runs_and_keeps_the_number_of_frames():
    chains = {}
    for recipe in draws(400):
        kinds = tuple(part.split("=")[0] for chain in recipe.filters for part in chain.split(";"))
        chains.setdefault(kinds, recipe)
    assert len(chains) > 30
    for recipe in chains.values():
        source = ["-f", "lavfi", "-i", f"testsrc=size=160x120:rate={RATE}"]
        graph = ",".join((*recipe.filters, "format=yuv420p"))
        printed = ffmpeg.run(
            [*source, "-vf", f"trim=end_frame={FRAMES},{graph}", "-fps_mode", "passthrough",
             "-progress", "pipe:2", "-f", "null", "-"]
        )  # fmt: skip
        shown = int(printed.rsplit("frame=", 1)[1].split()[0])
        assert shown == FRAMES // recipe.step, recipe


def test_a_freeze_repeats_frames(tmp_path):
    _, chain = filters.freeze(FRAMES, RATE, random.Random(3))
    out = tmp_path / "hashes"
    source = ["-f", "lavfi", "-i", f"testsrc2=size=160x120:rate={RATE}"]
    ffmpeg.run([*source, "-vf", f"trim=end_frame={FRAMES},{chain}", "-f", "framemd5", str(out)])
    hashes = [line.split(",")[-1] for line in out.read_text().splitlines() if not line.startswith("#")]
    runs = [hash_ for hash_, count in collections.Counter(hashes).items() if count > 1]
    assert len(hashes) == FRAMES
    assert len(runs) == 1
    assert collections.Counter(hashes)[runs[0]] > 2


def test_an_unknown_codec_is_refused():
    with pytest.raises(InvalidArgument, match=r"codec must be one of .*got 'h261'"):
        encoders.encoder_arguments("h261", 20, "")


def test_failure_names_the_command():
    with pytest.raises(ffmpeg.FfmpegError, match="no_such_filter"):
        ffmpeg.run(["-f", "lavfi", "-i", "testsrc", "-vf", "no_such_filter", "-f", "null", "-"])
