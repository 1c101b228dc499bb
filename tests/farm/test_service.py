"""The service as a process of its own, spoken to over HTTP, with workers that misbehave."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

from tests import clips  # noqa: E402
from tests.farm import misbehaving  # noqa: E402
from tests.farm.served import Server, serving  # noqa: E402

import vqafast  # noqa: E402
from vqafast.errors import EXIT_CODES, InvalidArgument, MissingFile  # noqa: E402
from vqafast.farm.service.app import ServiceOptions, create_app  # noqa: E402
from vqafast.farm.service.errors import OutsideRoot  # noqa: E402
from vqafast.farm.service.paths import Root  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "assessment.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("service") / "media"
    (root / "sub").mkdir(parents=True)
    for i in range(3):
        clips.encode(root / f"{i}.mp4", clips.Clip(frames=24 + i, options={"crf": str(16 + 4 * i)}))
    clips.encode(root / "long.mp4", clips.Clip(frames=200))
    (root / "sub" / "text.mp4").write_text("no video")
    (root.parent / "secret.mp4").write_bytes((root / "0.mp4").read_bytes())
    (root / "out.mp4").symlink_to("../secret.mp4")
    (root / "folder").symlink_to("..")
    (root / "in.mp4").symlink_to("0.mp4")
    os.mkfifo(root / "pipe.mp4")
    for name in ("hang", "crash", "slow", "slow2", "raise", "once"):
        (root / f"{name}.mp4").write_bytes((root / "0.mp4").read_bytes())
    return root


@pytest.fixture(scope="module")
def server(media: Path) -> Iterator[Server]:
    with serving(media, "--workers", 2, "--max-upload", 200_000, "--max-duration", "5s") as made:
        yield made


def test_scores_are_those_of_the_library(server: Server, media: Path) -> None:
    for name in ("0.mp4", "1.mp4"):
        short = server.get("/score", path=name)
        assert short.status_code == 200
        expected = vqafast.assess(media / name, threads=1, window="gop")
        got = short.json()
        assert (got["path"], got["score"]) == (name, expected.score)
        assert got["model"]["weights_sha256"] == expected.model.weights_sha256
        whole = server.get("/assess", path=name, window="gop").json()
        jsonschema.validate(whole, SCHEMA)
        plain = expected.to_dict()
        for changing in ("path", "timings"):
            del plain[changing], whole[changing]
        assert whole == json.loads(json.dumps(plain))


def test_a_body_is_scored_like_a_file(server: Server, media: Path) -> None:
    data = (media / "2.mp4").read_bytes()
    expected = vqafast.score(media / "2.mp4", threads=1)
    whole = server.http.post("/assess", params={"window": "0.5"}, content=data)
    jsonschema.validate(whole.json(), SCHEMA)
    chunks = iter([data[:100], data[100:5000], data[5000:]])
    short = [server.http.post("/score", content=content) for content in (data, chunks)]
    for answer in (*short, whole):
        assert answer.status_code == 200
        assert answer.json()["score"] == expected
        assert answer.json()["path"] == "<upload>"
    assert server.metric("vqafast_uploaded_bytes_total") >= 3 * len(data)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("../secret.mp4", 403, "outside_root"),
        ("sub/../../secret.mp4", 403, "outside_root"),
        ("/etc/passwd", 403, "outside_root"),
        ("/nowhere/at/all", 403, "outside_root"),
        ("../media2/0.mp4", 403, "outside_root"),
        ("out.mp4", 403, "outside_root"),
        ("folder/secret.mp4", 403, "outside_root"),
        ("none.mp4", 404, "missing_file"),
        ("0.mp4/x", 404, "missing_file"),
        ("sub", 422, "is_directory"),
        (".", 422, "is_directory"),
        ("sub/text.mp4", 422, "not_a_video"),
        ("pipe.mp4", 422, "hostile_input"),
        ("http://127.0.0.1:9/x.mp4", 422, "hostile_input"),
        ("file:///etc/passwd", 422, "hostile_input"),
        ("concat:0.mp4|1.mp4", 422, "hostile_input"),
        ("0\0.mp4", 422, "invalid_argument"),
        ("", 422, "invalid_argument"),
        ("x" * 5000, 422, "invalid_argument"),
        ("x" * 300, 422, "unreadable"),
        ("long.mp4", 422, "too_long"),
    ],
)
def test_what_is_refused(server: Server, media: Path, path: str, status: int, code: str) -> None:
    answer = server.get("/score", path=path)
    error = answer.json()["error"]
    if code == "unreadable":
        status = 403
    assert (answer.status_code, error["code"]) == (status, code)
    assert answer.headers["X-Vqafast-Error"] == code
    # What lies where on the server is nobody's business.
    assert str(media.parent) not in error["message"].replace(path, "")


def test_arguments_are_checked(server: Server) -> None:
    for query in (
        {"pooling": "median"},
        {"window": "0"},
        {"window": "nan"},
        {"window": "-1"},
        {"window": "gops"},
        {"display": "1x"},
        {"display": "99999x99999"},
    ):
        answer = server.get("/assess", path="0.mp4", **query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_argument"), query
    assert server.get("/assess", path="0.mp4", window="0.5").status_code == 200
    assert server.get("/score", path="0.mp4", pooling="min", display="320x200").status_code == 200
    assert server.get("/nothing").json()["error"]["code"] == "no_route"
    assert server.http.delete("/score").status_code == 405


def test_uploads_are_limited(server: Server, media: Path) -> None:
    before = server.metric("vqafast_uploaded_bytes_total")
    # By what it says, before anything of it is taken; and by what comes.
    told = server.http.post("/score", content=b"x" * 300_000)
    assert (told.status_code, told.json()["error"]["code"]) == (413, "upload_too_large")
    assert server.metric("vqafast_uploaded_bytes_total") == before
    came = server.http.post("/score", content=iter([b"x" * 50_000] * 40))
    assert (came.status_code, came.json()["error"]["code"]) == (413, "upload_too_large")
    for content, code in ((b"", "invalid_argument"), (b"text", "not_a_video")):
        answer = server.http.post("/score", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    long = server.http.post("/assess", content=(media / "long.mp4").read_bytes())
    assert (long.status_code, long.json()["error"]["code"]) == (422, "too_long")
    assert "at most 5 s, got 8.3 s" in long.json()["error"]["message"]
    until(lambda: not uploads_kept(server))


def test_metrics(server: Server) -> None:
    scored = server.metric('vqafast_requests_total{route="/score",status="200"}')
    frames = server.metric('vqafast_frames_total{fate="scored"}')
    missing = server.metric('vqafast_failures_total{code="missing_file"}')
    server.get("/score", path="0.mp4")
    server.get("/score", path="none.mp4")
    server.get("/no/such/route")
    assert server.metric('vqafast_requests_total{route="/score",status="200"}') == scored + 1
    assert server.metric('vqafast_frames_total{fate="scored"}') == frames + 2
    assert server.metric('vqafast_failures_total{code="missing_file"}') == missing + 1
    assert server.metric('vqafast_requests_total{route="other",status="404"}') >= 1
    assert server.metric("vqafast_workers_resident_bytes") > 50e6
    assert server.metric('vqafast_stage_seconds_total{stage="backbone"}') > 0
    assert server.metric("vqafast_waiting") == server.metric("vqafast_under_way") == 0
    assert 'model="a2inet-lite"' in server.http.get("/metrics").text


@pytest.fixture
def rough(media: Path, tmp_path: Path) -> Iterator[Server]:
    environment = misbehaving.environment(tmp_path)
    options = ("--workers", 1, "--queue", 2, "--timeout", "3s", "--upload-timeout", "1s", "--grace", "10s")
    with serving(media, *options, environment=environment) as made:
        yield made


def apart(server: Server, path: str) -> concurrent.futures.Future[Any]:
    """Ask in a thread."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def ask() -> None:
        try:
            future.set_result(httpx.get(f"http://127.0.0.1:{server.port}/score?path={path}", timeout=60))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return future


def uploads_kept(server: Server) -> list[str]:
    """Files of uploads that the service has open."""
    kept = []
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        # Requests come and go meanwhile.
        with contextlib.suppress(FileNotFoundError):
            kept.append(os.readlink(file))
    return [name for name in kept if "vqafast-" in name or name.startswith("/tmp/#")]


def until(what: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_that_hang_and_crash_cost_one_request(rough: Server) -> None:
    for name, status, code in (
        ("hang", 504, "timeout"),
        ("crash", 500, "worker_died"),
        ("raise", 500, "internal"),
        ("once", 500, "worker_died"),
    ):
        answer = rough.get("/score", path=f"{name}.mp4")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert rough.get("/score", path="1.mp4").status_code == 200
    assert rough.metric("vqafast_workers_started") == 4


def test_more_than_the_queue_holds_is_refused_at_once(rough: Server) -> None:
    held = [apart(rough, "slow.mp4")]
    until(lambda: rough.metric("vqafast_under_way") == 1)
    held += [apart(rough, "1.mp4") for _ in range(2)]
    until(lambda: rough.metric("vqafast_waiting") == 2)
    answer = rough.get("/score", path="1.mp4")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
    # It did not wait for a place: those before it still have theirs.
    assert rough.metric("vqafast_waiting") == 2
    assert answer.headers["Retry-After"] == "1"
    # Uploads need a place before their bodies are taken.
    assert rough.http.post("/score", content=b"x" * 1000).status_code == 429
    assert [f.result().status_code for f in held] == [504, 200, 200]


def test_a_client_that_leaves_frees_its_place(rough: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"http://127.0.0.1:{rough.port}/score?path=slow.mp4", timeout=0.5)
    until(lambda: rough.metric('vqafast_failures_total{code="cancelled"}') == 1)
    # The same worker goes on, before it would be timed out and killed.
    assert rough.get("/score", path="1.mp4").status_code == 200
    assert rough.metric("vqafast_workers_started") == 1
    # One that leaves the queue is never begun.
    held = apart(rough, "slow.mp4")
    until(lambda: rough.metric("vqafast_under_way") == 1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"http://127.0.0.1:{rough.port}/score?path=slow2.mp4", timeout=0.3)
    assert held.result().status_code == 504
    assert rough.get("/score", path="1.mp4").status_code == 200
    assert rough.metric("vqafast_waiting") == rough.metric("vqafast_under_way") == 0


def test_an_upload_that_trickles_or_stops(rough: Server, media: Path) -> None:
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", rough.port)) as slow:
        slow.sendall(head + b"abc")
        slow.settimeout(60)
        assert b"408" in slow.recv(100)
    with socket.create_connection(("127.0.0.1", rough.port)) as gone:
        gone.sendall(head + b"abc")
    until(lambda: rough.metric('vqafast_failures_total{code="cancelled"}') == 1)
    assert rough.http.post("/score", content=(media / "1.mp4").read_bytes()).status_code == 200


def test_sigterm_finishes_what_runs_and_what_waits(media: Path, tmp_path: Path) -> None:
    options = ("--workers", 1, "--timeout", "2s", "--grace", "60s")
    with serving(media, *options, environment=misbehaving.environment(tmp_path)) as server:
        held = [apart(server, "slow.mp4")]
        until(lambda: server.metric("vqafast_under_way") == 1)
        held += [apart(server, "1.mp4")]
        until(lambda: server.metric("vqafast_waiting") == 1)
        workers = server.workers()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/healthz", timeout=2)
        assert [f.result(60).status_code for f in held] == [504, 200]
        assert server.wait() == 0
        assert workers
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_grace_has_an_end(media: Path, tmp_path: Path) -> None:
    options = ("--workers", 1, "--grace", "1s")
    with serving(media, *options, environment=misbehaving.environment(tmp_path)) as server:
        apart(server, "hang.mp4")
        until(lambda: server.metric("vqafast_under_way") == 1)
        server.process.send_signal(signal.SIGTERM)
        # The file would take ten minutes.
        assert server.wait() == 0


def test_workers_end_with_a_service_that_is_killed(media: Path) -> None:
    with serving(media, "--workers", 2) as server:
        # It answers as soon as one of them is ready.
        until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        server.process.kill()
        server.wait()
        until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()])


def test_what_cannot_start(media: Path, tmp_path: Path) -> None:
    def status(*arguments: Any) -> tuple[int, str]:
        command = [sys.executable, "-m", "vqafast.cli", "serve", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    assert status("--root", tmp_path / "none")[0] == EXIT_CODES["missing_file"]
    assert status("--root", media, "--model", tmp_path)[0] == EXIT_CODES["model_error"]
    assert status("--root", media, "--timeout", "soon")[0] == EXIT_CODES["invalid_argument"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = status("--root", media, "--port", taken.getsockname()[1])
    assert code == EXIT_CODES["invalid_argument"]
    assert "serve: cannot listen on 127.0.0.1, port" in said
    assert "Address already in use" in said


def test_the_root(media: Path) -> None:
    root = Root(media)
    assert root.find("in.mp4") == str(media / "0.mp4")
    assert root.find(str(media / "0.mp4")) == str(media / "0.mp4")
    assert root.find("sub/../0.mp4") == str(media / "0.mp4")
    assert Root("/").find("/etc/passwd") == "/etc/passwd"
    with pytest.raises(OutsideRoot):
        root.find(f"../{media.name}x/0.mp4")
    with pytest.raises(MissingFile):
        Root(media / "0.mp4")
    with pytest.raises(InvalidArgument, match="queue >= 0"):
        ServiceOptions(root=str(media), queue=-1)


def test_the_api_as_schemathesis_sees_it(server: Server, media: Path) -> None:
    """Whatever it sends: no answer but those of the schema, and none of the kind 5xx."""
    report = subprocess.run(
        [
            "schemathesis", "run", f"http://127.0.0.1:{server.port}/openapi.json", "--max-examples", "40",
            "--seed", "1", "--generation-database", "none", "--exclude-path", "/metrics",
            "--exclude-checks", "positive_data_acceptance",
        ],
        capture_output=True, text=True, check=False, timeout=280, cwd=media.parent,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert report.returncode == 0, report.stdout[-6000:]


def test_the_schema_is_complete(media: Path) -> None:
    schema = create_app(ServiceOptions(root=str(media))).openapi()
    assert set(schema["paths"]) == {"/score", "/assess", "/healthz", "/metrics"}
    assert {"Assessment", "Score", "Failure", "Health"} <= set(schema["components"]["schemas"])
    for method in ("get", "post"):
        assert {"200", "403", "404", "413", "422", "429", "500", "503", "504"} <= set(
            schema["paths"]["/assess"][method]["responses"]
        )
