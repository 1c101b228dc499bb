"""Clips by name, each encoded once per session and only when a test asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests import clips
from tests.ops.cuda import CARD_EMULATED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    ClipMaker = Callable[[str, clips.Clip], Path]


def pytest_configure() -> None:
    """Make torch and Ray fit for a busy machine, in this process and in those that tests start.

    torch gets one thread: its modules are small here, and its threads spin. Ray gives up on a head
    node that does not answer within 5 s of its start; no test is about how fast that is.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", "60")
    if CARD_EMULATED:
        from tests.card_emulation import torch_card
        from tests.video import card

        torch_card.install()
        clips.encode = card.encode_and_learn(clips.encode)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_emulated.py")


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> ClipMaker:
    """Encode a clip into a file of the given name; the same name is encoded once."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, clips.Clip] = {}

    def make(name: str, clip: clips.Clip) -> Path:
        path = folder / name
        if name not in made:
            raw = {".h264": "h264", ".hevc": "hevc"}.get(path.suffix)
            clips.encode(path, clip, raw)
            made[name] = clip
        assert made[name] == clip, f"two different clips are named {name}"
        return path

    return make


@pytest.fixture(scope="session")
def h264_mp4(make_clip: ClipMaker) -> Path:
    """48 frames of 160x96 at 24 fps, a key frame every 12, moov first."""
    return make_clip(
        "h264.mp4", clips.Clip(options={"g": "12", "sc_threshold": "0"}, muxer={"movflags": "faststart"})
    )


@pytest.fixture(scope="session")
def vp9_webm(make_clip: ClipMaker) -> Path:
    """48 frames of 160x96 at 24 fps, a key frame every 12."""
    options = {"g": "12", "deadline": "realtime", "cpu-used": "8"}
    return make_clip("vp9.webm", clips.Clip("libvpx-vp9", options=options))
