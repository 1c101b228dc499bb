"""Backbone weights: https only, checksums before use, whole files or none, strict loading."""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from vqafast.errors import InvalidArgument, MissingFile, ModelError, Unreadable  # noqa: E402
from vqafast.models.backbones import weights  # noqa: E402
from vqafast.models.backbones.official import OFFICIAL, Official  # noqa: E402
from vqafast.models.backbones.table import BACKBONES  # noqa: E402
from vqafast.models.backbones.weights import resolve  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * 9000  # more than two blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = f"https://weights.example/a%20b/net.pth#sha256={DIGEST}"


class _Handler(http.server.BaseHTTPRequestHandler):
    content = CONTENT
    stated: int | None = len(CONTENT)
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "http://elsewhere.example/net.pth")
        if self.stated is not None:
            self.send_header("Content-Length", str(self.stated))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *args: Any) -> None:
        pass


class Server:
    """A local http server in the place of every https address; `asked` counts."""

    def __init__(self, port: int) -> None:
        self.port, self.asked = port, []

    def __call__(self, url: str) -> Any:
        self.asked.append(url)
        path = url.removeprefix("https://").partition("/")[2]
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5)


@contextmanager
def serving(**attributes: Any) -> Iterator[Server]:
    handler = type("Handler", (_Handler,), attributes)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def nothing_left(folder: Path) -> bool:
    return not folder.exists() or list(folder.iterdir()) == []


def test_fetch_once_then_from_the_cache(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving() as server:
        path = resolve(URL, cache=tmp_path, opener=server, progress=lambda *a: seen.append(a))
        assert path == tmp_path / f"{DIGEST[:8]}-net.pth"
        assert path.read_bytes() == CONTENT
        assert resolve(URL, cache=tmp_path, opener=server) == path
    assert server.asked == [URL.partition("#")[0]]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [n for n, _ in seen] == sorted({n for n, _ in seen})
    assert list(tmp_path.iterdir()) == [path]


def test_the_cache_is_checked_too(tmp_path: Path) -> None:
    with serving() as server:
        path = resolve(URL, cache=tmp_path, opener=server)
        path.write_bytes(CONTENT[:-1])
        with pytest.raises(
            ModelError, match=rf"must have sha256 {DIGEST}, got .*remove it to fetch it again"
        ):
            resolve(URL, cache=tmp_path, opener=server)


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"content": CONTENT[:-1] + b"x"}, ModelError, f"must have sha256 {DIGEST}, got "),
        ({"content": CONTENT[:5000]}, MissingFile, f"ended after 5000 of {len(CONTENT)} bytes"),
        ({"content": CONTENT[:5000], "stated": None}, ModelError, f"must have sha256 {DIGEST}"),
        ({"status": 404}, MissingFile, "HTTP Error 404"),
        ({"stated": 1 << 40, "content": b""}, ModelError, f"must be at most {2 << 30} bytes, got {1 << 40}"),
    ],
    ids=["altered", "truncated", "truncated-unstated", "not-found", "too-large"],
)
def test_bad_downloads_leave_nothing(
    tmp_path: Path, attributes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with serving(**attributes) as server, pytest.raises(error, match=message):
        resolve(URL, cache=tmp_path, opener=server)
    assert nothing_left(tmp_path)


def test_a_stream_without_end_is_cut_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", 1 << 20)
    with serving(stated=None) as server, pytest.raises(ModelError, match=f"must be at most {1 << 20} bytes"):
        resolve(URL, cache=tmp_path, opener=server)
    assert nothing_left(tmp_path)


def test_offline_says_from_where_and_to_where(tmp_path: Path) -> None:
    def opener(url: str) -> Any:
        raise urllib.error.URLError("no route to host")

    entry = OFFICIAL["resnet50-imagenet"]
    with pytest.raises(MissingFile) as caught:
        resolve("resnet50-imagenet", cache=tmp_path, opener=opener)
    assert entry.url is not None
    assert entry.url in str(caught.value)
    assert f"put the file at {tmp_path / entry.file}" in str(caught.value)
    assert "no route to host" in str(caught.value)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (f"http://weights.example/net.pth#sha256={DIGEST}", "must begin with https://"),
        (f"ftp://weights.example/net.pth#sha256={DIGEST}", "must begin with https://"),
        (f"file:///etc/passwd#sha256={DIGEST}", "must begin with https://"),
        ("https:///net.pth", "must begin with https://"),
        ("https://weights.example/net.pth", "must end in #sha256="),
        ("https://weights.example/net.pth#sha256=12", "must end in #sha256="),
        ("https://weights.example/net.pth#md5=12", "must end in #sha256="),
    ],
)
def test_addresses_that_are_refused(tmp_path: Path, source: str, message: str) -> None:
    def opener(url: str) -> Any:
        raise AssertionError("must not be asked")

    with pytest.raises(InvalidArgument, match=message):
        resolve(source, cache=tmp_path, opener=opener)


def test_redirects_must_stay_on_https() -> None:
    handler = weights._HttpsOnly()
    request = urllib.request.Request("https://weights.example/net.pth")
    with pytest.raises(urllib.error.URLError, match="redirected away from https"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://elsewhere.example/net.pth")  # type: ignore[arg-type]
    onwards = handler.redirect_request(request, None, 302, "Found", {}, "https://cdn.example/net.pth")  # type: ignore[arg-type]
    assert onwards is not None
    assert onwards.full_url == "https://cdn.example/net.pth"


def test_the_opener_that_is_used_refuses_to_leave_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that redirects to http, through the handler as it is installed."""
    with serving(status=302, content=b"", stated=0) as server:
        opener = urllib.request.build_opener(weights._HttpsOnly)
        with pytest.raises(urllib.error.URLError, match="redirected away from https"):
            opener.open(f"http://127.0.0.1:{server.port}/net.pth", timeout=5)


def test_hostile_names_stay_in_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with serving() as server:
        for tail in ("..%2f..%2fevil.pth", "%2e%2e", "", "a%00b.pth", ".hidden"):
            path = resolve(f"https://w.example/{tail}#sha256={DIGEST}", cache=cache, opener=server)
            assert path.parent == cache
            assert path.name.startswith(f"{DIGEST[:8]}-")
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"x")
    assert resolve(tmp_path / "mine.pth", cache=tmp_path) == tmp_path / "mine.pth"
    with pytest.raises(MissingFile, match=r"weights must be a file, an https address or one of \['maniqa"):
        resolve(str(tmp_path / "none.pth"))


def test_what_cannot_be_fetched_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"unique: must be fetched by hand from https://github.com/zwx8981"):
        resolve("unique", cache=tmp_path)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unreadable, match=r"the cache \(VQAFAST_CACHE\) must be writable"):
        resolve(URL, cache=tmp_path / "file" / "cache", opener=lambda _: pytest.fail("asked"))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("VQAFAST_CACHE", "/own")
    assert weights.cache_directory() == Path("/own")
    monkeypatch.delenv("VQAFAST_CACHE")
    assert weights.cache_directory() == Path("/xdg/vqafast")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_directory() == Path.home() / ".cache" / "vqafast"


def test_official_names_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, entry in OFFICIAL.items():
        assert entry.backbone in BACKBONES, name
        if entry.url is None:
            continue
        assert entry.url.startswith("https://")
        assert entry.url.endswith("/" + entry.file)
        assert entry.sha256 is not None
        assert len(entry.sha256) == 64
        if "download.pytorch.org" in entry.url:
            assert entry.file.rsplit("-", 1)[1] == f"{entry.sha256[:8]}.pth"
    assert {b.weights for b in BACKBONES.values()} <= set(OFFICIAL)
    # A known address needs no fragment.
    small = Official("resnet50", "net.pth", "p", URL.partition("#")[0], DIGEST, len(CONTENT), "o", "a")
    monkeypatch.setitem(OFFICIAL, "small", small)
    with serving() as server:
        by_address = resolve(URL.partition("#")[0], cache=tmp_path, opener=server)
        assert by_address == resolve("small", cache=tmp_path, opener=server) == tmp_path / "net.pth"
    assert len(server.asked) == 1


def test_stated_sizes_limit_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Official("resnet50", "net.pth", "p", URL.partition("#")[0], DIGEST, 1000, "o", "a")
    monkeypatch.setitem(OFFICIAL, "small", small)
    with serving() as server, pytest.raises(ModelError, match="must be at most 1000 bytes"):
        resolve("small", cache=tmp_path, opener=server)
