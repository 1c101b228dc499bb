"""A batch on real Ray clusters of two local nodes, one of which is killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402
from tests import clips  # noqa: E402

import vqafast  # noqa: E402
from vqafast.errors import EngineUnavailable, InvalidArgument  # noqa: E402
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


def test_a_cluster_without_what_is_asked_is_refused_at_once(cluster: Any, tmp_path: Path) -> None:
    ray.init(address=cluster.address, log_to_driver=False)
    for scorer, wanted in (({"device": "cuda"}, "1 GPU, got 0"), ({"threads": 64}, "64 CPU, got 1")):
        begun = time.monotonic()
        with pytest.raises(EngineUnavailable, match=f"must have {wanted} in all"):
            run_batch([], tmp_path / "out.jsonl", BatchOptions(ray=cluster.address, scorer=scorer))  # type: ignore[arg-type]
        assert time.monotonic() - begun < 5
    with pytest.raises(InvalidArgument, match="memory is Ray's to limit"):
        run_batch([], tmp_path / "out.jsonl", BatchOptions(ray=cluster.address, memory=1))


def test_an_address_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"there must be a Ray cluster at '127\.0\.0\.1:1'"):
        run_batch([], tmp_path / "out.jsonl", BatchOptions(ray="127.0.0.1:1"))
