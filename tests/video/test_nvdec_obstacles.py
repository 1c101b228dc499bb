"""What keeps a stream from NVDEC; stand-ins take the place of the card's pictures."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from vqafast.video import nvdec
from vqafast.video.nvdec import NvdecFailed, codec_obstacle, nvdec_obstacle, open_on_gpu, picture_obstacle
from vqafast.video.picture import PictureReader

if TYPE_CHECKING:
    from collections.abc import Iterator


def stream(codec: str = "h264", profile: str | None = "High", size: tuple[int, int] = (320, 192)) -> Any:
    """The attributes of a codec context that a card was given to."""
    return SimpleNamespace(
        codec=SimpleNamespace(canonical_name=codec),
        name=codec,
        profile=profile,
        pix_fmt="cuda",
        width=size[0],
        height=size[1],
        is_hwaccel=True,
    )


def picture(layout: str = "nv12", size: tuple[int, int] = (320, 192), place: str = "cuda") -> Any:
    """The attributes of a decoded frame; its planes are refused, as PyAV refuses those of most layouts."""

    def refuse() -> None:
        raise NotImplementedError

    return SimpleNamespace(
        format=SimpleNamespace(name=place),
        sw_format=SimpleNamespace(name=layout),
        width=size[0],
        height=size[1],
        planes=[SimpleNamespace(__dlpack__=refuse)],
        color_trc=2,
        interlaced_frame=False,
    )


@pytest.mark.parametrize(
    ("codec", "profile", "reason"),
    [
        ("h264", "High", None),
        ("hevc", "Main 10", None),
        ("vp8", None, None),
        ("vp9", "Profile 0", None),
        ("h264", "High 4:4:4 Predictive", "NVDEC is not used for h264 High 4:4:4 Predictive"),
        ("mpeg2video", "Main", "NVDEC is used for h264, hevc, vp8, vp9 only, got mpeg2video Main"),
        ("mpeg4", None, "NVDEC is used for h264, hevc, vp8, vp9 only, got mpeg4"),
        ("mjpeg", None, "NVDEC is used for h264, hevc, vp8, vp9 only, got mjpeg"),
        ("av1", "Main", "NVDEC is used for h264, hevc, vp8, vp9 only, got av1 Main"),
    ],
)
def test_codecs(codec: str, profile: str | None, reason: str | None) -> None:
    assert codec_obstacle(stream(codec, profile)) == reason
    # A profile that the container does not say is known with the first picture.
    assert picture_obstacle(stream(codec, profile), picture()) == reason


@pytest.mark.parametrize("codec", ["h264", "mpeg2video"])
def test_a_file_of_another_codec_is_opened_again_without_the_card(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    opened = SimpleNamespace(
        stream=SimpleNamespace(codec_context=stream(codec)),
        hwaccel="card",
        reopen=lambda: calls.append(opened.hwaccel or "no card"),
    )
    monkeypatch.setattr(nvdec, "nvdec_obstacle", lambda gpu: None)
    monkeypatch.setattr(nvdec, "open_video", lambda *_, **given: opened)
    _, obstacle = open_on_gpu(None, "x", owns_file=True, gpu=0)  # type: ignore[arg-type]
    assert (calls, obstacle is None) == (([], True) if codec == "h264" else (["no card"], False))


def test_pictures_that_stay_on_the_device() -> None:
    for layout in ("nv12", "p010le", "p016le"):
        assert picture_obstacle(stream(), picture(layout)) is None


@pytest.mark.parametrize("layout", ["yuv444p", "yuv444p16le", "nv16", "p210le", "p216le", "p012le"])
def test_layouts_that_are_not_handed_out(layout: str) -> None:
    said = f"NVDEC gives pictures as {layout}, and only nv12, p010le, p016le can be read on a GPU"
    assert picture_obstacle(stream("hevc", "Rext"), picture(layout)) == said
    # The stream may change to it later, when the card has decoded some already.
    reader = PictureReader("x.mp4", "", 1, [])  # type: ignore[arg-type]
    for read in (reader.luma, partial(reader.read, entry=None)):  # type: ignore[arg-type]
        with pytest.raises(NvdecFailed, match=f"as {layout}, "):
            read(picture(layout))


def test_a_picture_that_the_card_did_not_decode() -> None:
    reason = picture_obstacle(stream(), picture("yuv420p", place="yuv420p"))
    assert reason == "NVDEC does not decode h264 High, or the GPU has no memory left for it"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A card whose driver lacks the libraries that a test takes away; those that are there are listed."""
    there = ["libnvcuvid.so.1"]

    def load(name: str) -> None:
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(nvdec.Card, "__call__", lambda self: SimpleNamespace(create=lambda codec: None))
    monkeypatch.setattr(nvdec, "ctypes", SimpleNamespace(CDLL=load))
    nvdec_obstacle.cache_clear()
    yield there
    nvdec_obstacle.cache_clear()


def test_a_driver_without_the_decoder_s_library(library: list[str]) -> None:
    library.clear()
    reason = nvdec_obstacle(3)
    assert reason is not None
    assert reason.startswith(
        "NVDEC of GPU 3 cannot be used: libnvcuvid.so.1 cannot be loaded (libnvcuvid.so.1: cannot open"
    )
    assert "NVIDIA_DRIVER_CAPABILITIES includes video" in reason


@pytest.mark.usefixtures("library")
def test_a_driver_with_it() -> None:
    assert nvdec_obstacle(0) is None
