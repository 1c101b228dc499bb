"""A batch on real Ray clusters: of two local nodes, one of which is killed, and of this machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402
from tests import clips  # noqa: E402

import vqafast  # noqa: E402
from vqafast.errors import EXIT_CODES, EngineUnavailable, InvalidArgument  # noqa: E402
from vqafast.farm.batch import BatchOptions, run_batch  # noqa: E402
from vqafast.farm.record import Record  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    for i in range(COUNT - 1):
        clips.encode(root / f"{i:02}.mp4", clips.Clip(frames=12 + i, options={"crf": str(16 + i)}))
    (root / "text.mp4").write_text("no video")
    return root


@pytest.fixture
def cluster() -> Iterator[Any]:
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_node_is_killed_in_the_middle(folder: Path, cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    done: list[Record] = []

    def on_record(record: Record) -> None:
        done.append(record)
        if len(done) == COUNT // 2:
            cluster.remove_node(node, allow_graceful=False)

    out = tmp_path / "records.jsonl"
    summary = run_batch(
        [str(folder)], out, BatchOptions(ray=cluster.address, attempts=3), on_record=on_record
    )
    got = [Record.from_json(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert summary.counts == {"scored": COUNT - 1, "not_a_video": 1}
    assert len(got) == len(done) == COUNT
    assert {r.path for r in got} == {str(p) for p in folder.iterdir()}
    for r in got:
        if r.code is None:
            assert r.score == vqafast.score(r.path, threads=1)
    assert run_batch([str(folder)], out, BatchOptions(workers=1)).new == 0


def test_a_cluster_without_what_is_asked_is_refused(cluster: Any, tmp_path: Path) -> None:
    ray.init(address=cluster.address, log_to_driver=False)
    for scorer, wanted in (({"device": "cuda"}, "1 GPU, got 0"), ({"threads": 64}, "64 CPU, got 1")):
        with pytest.raises(EngineUnavailable, match=f"must have {wanted} in all"):
            run_batch([], tmp_path / "out.jsonl", BatchOptions(ray=cluster.address, scorer=scorer))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="memory is Ray's to limit"):
        run_batch([], tmp_path / "out.jsonl", BatchOptions(ray=cluster.address, memory=1))


def test_an_address_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"there must be a Ray cluster at '127\.0\.0\.1:1'"):
        run_batch([], tmp_path / "out.jsonl", BatchOptions(ray="127.0.0.1:1"))


def batch(folder: Path, out: Path, address: str, environment: dict[str, str]) -> tuple[int, str]:
    command = [
        sys.executable,
        "-m",
        "vqafast.cli",
        "batch",
        folder,
        "--output",
        out,
        "--ray",
        address,
        "--quiet",
    ]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_on_this_machine_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    status, said = batch(folder, out, "local", {})
    assert status == EXIT_CODES["files_failed"], said
    got = [Record.from_json(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {r.path for r in got} == {str(p) for p in folder.iterdir()}
    assert [r.code for r in got if r.score is None] == ["not_a_video"]


def test_a_head_that_does_not_answer(folder: Path, tmp_path: Path) -> None:
    """What a machine does that is too busy for it: no time at all is granted here."""
    out = tmp_path / "records.jsonl"
    status, said = batch(folder, out, "local", {"RAY_gcs_rpc_server_connect_timeout_s": "-1"})
    assert status == EXIT_CODES["engine_unavailable"], said
    assert "error[engine_unavailable]: batch: there must be a Ray cluster at 'local', got none; `ray" in said
    assert "Traceback" not in said
    assert not out.exists() or not out.stat().st_size
