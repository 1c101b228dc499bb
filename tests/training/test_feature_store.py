"""Stored features: what is computed, under which name, and what survives a kill."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from tests.models.small import TwoStages  # noqa: E402
from tests.training import stand_in  # noqa: E402

from vqafast.errors import InvalidArgument, MissingFile, ModelError  # noqa: E402
from vqafast.models.a2inet.config import HeadConfig  # noqa: E402
from vqafast.models.a2inet.export import Description, export_model  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.backbones.slowfast import SlowFastFast  # noqa: E402
from vqafast.models.spec import SamplingSpec, Scale  # noqa: E402
from vqafast.training import content_hash  # noqa: E402
from vqafast.training.backbones import module_digest  # noqa: E402
from vqafast.training.extract import extract, extract_video  # noqa: E402
from vqafast.training.feature_store import FeatureStore, StoreKey  # noqa: E402
from vqafast.video import open_source  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
KEY = StoreKey("q", "s", {"sampling": {"kind": "every_frame"}})


@dataclass(frozen=True)
class Item:
    path: Path
    name: str = "video"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    stand_in.make_clips(root, 4)
    return root


@pytest.fixture(scope="module")
def items(folder):
    return stand_in.dataset(folder).items


def blob(tmp_path, text=b"content"):
    path = tmp_path / "a file"
    path.write_bytes(text)
    return Item(path)


def rows(n, first=0, quality=3, semantic=2):
    k = np.arange(first, first + n, dtype=np.int64)
    rng = np.random.default_rng(first)
    return k, 10 * k, k / 2, rng.random((n, quality), np.float32), rng.random((n, semantic), np.float32)


def test_rows_come_back_and_plain_numpy_reads_them(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)
    with store.write(item) as writer:
        writer.append(*rows(3))
        writer.append(*rows(2, 3))
    got = store.load(item)
    expected = [np.concatenate(parts) for parts in zip(rows(3), rows(2, 3), strict=True)]
    kept = [expected[i] for i in (0, 2, 3, 4)]
    for a, b in zip((got.k, got.times, got.quality, got.semantic), kept, strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(got.quality, np.memmap)
    assert len(got) == 5
    plain = np.load(store.file(item))
    np.testing.assert_array_equal(plain["index"], expected[1])


def test_memory_does_not_grow_with_the_video(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)
    tracemalloc.start()
    try:
        with store.write(item) as writer:
            for first in range(0, 2000, 8):
                writer.append(*rows(8, first, quality=1920, semantic=7680))
        got = store.load(item)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got.semantic.shape == (2000, 7680)
    assert got.quality.nbytes + got.semantic.nbytes > 70e6
    assert peak < 3e6


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)

    def failing():
        with store.write(item) as writer:
            writer.append(*rows(3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with store.write(item):
        pass
    assert not store.has(item)
    assert [p.name for p in store.file(item).parent.iterdir()] == ["key.json"]
    with pytest.raises(MissingFile, match=r"features of .*a file: must be computed first, got no \w+\.npy"):
        store.load(item)


def test_rows_are_checked(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)
    k, index, times, quality, semantic = rows(2)
    with (
        store.write(item) as writer,
        pytest.raises(ModelError, match="quality must be finite, got nan or inf"),
    ):
        writer.append(k, index, times, quality * np.inf, semantic)
    with store.write(item) as writer:
        writer.append(k, index, times, quality, semantic)
        with pytest.raises(InvalidArgument, match=r"semantic must be \(2, 2\), got \(2, 1\)"):
            writer.append(k, index, times, quality, semantic[:, :1])


def test_a_damaged_file_is_an_error(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)
    with store.write(item) as writer:
        writer.append(*rows(40))
    whole = store.file(item).read_bytes()
    store.file(item).write_bytes(whole[:-9])
    with pytest.raises(ModelError, match="must be a whole file of features"):
        store.load(item)


def test_names_follow_content_and_key(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)
    twin = Item(tmp_path / "twin")
    shutil.copy(item.path, twin.path)
    other = Item(tmp_path / "other")
    other.path.write_bytes(b"Content")
    assert store.file(twin) == store.file(item) != store.file(other)
    changed = FeatureStore(tmp_path / "store", StoreKey("q", "t", KEY.plan))
    assert changed.file(item) != store.file(item)
    assert json.loads((changed.file(item).parent / "key.json").read_text())["semantic_backbone"] == "t"


def test_content_is_read_once_until_it_changes(tmp_path, monkeypatch):
    reads = []
    digest = content_hash.hashlib.file_digest
    monkeypatch.setattr(content_hash.hashlib, "file_digest", lambda f, a: (reads.append(1), digest(f, a))[1])
    item = blob(tmp_path)
    first = FeatureStore(tmp_path / "store", KEY).content(item)
    log = tmp_path / "store" / "content.jsonl"
    with log.open("ab") as file:
        file.write(b'{"path": "cut sho')
    store = FeatureStore(tmp_path / "store", KEY)
    assert store.content(item) == first
    assert len(reads) == 1
    item.path.write_bytes(b"content of another size")
    assert store.content(item) != first
    assert len(reads) == 2
    # The line that was cut short has not eaten the one behind it.
    assert FeatureStore(tmp_path / "store", KEY).content(item) == store.content(item)
    assert len(reads) == 2


def test_the_key_knows_weights_architecture_sampling_and_views():
    parts = stand_in.parts()
    first = parts.backbones().key()
    assert stand_in.parts().backbones().key() == first
    semantic = TwoStages(3)
    semantic.load_state_dict(parts.semantic.state_dict())
    assert module_digest(semantic) == module_digest(parts.semantic)
    with torch.no_grad():
        semantic.b.weight[0, 0, 0, 0] += 1e-6
    strided = TwoStages(3)
    strided.load_state_dict(parts.semantic.state_dict())
    strided.b.stride = (1, 1)
    others = [
        stand_in.parts(semantic=semantic),
        stand_in.parts(semantic=strided),
        stand_in.parts(sampling=dataclasses.replace(parts.sampling, rate=Fraction(9))),
        stand_in.parts(semantic_view=dataclasses.replace(parts.semantic_view, short_side=48)),
    ]
    digests = {p.backbones().key().digest() for p in others}
    assert len(digests) == 4
    assert first.digest() not in digests
    # Frames are independent of each other, so the head's window has no part in their features.
    window = stand_in.parts(sampling=dataclasses.replace(parts.sampling, window=2))
    assert window.backbones().key() == first


def test_features_are_those_of_scoring(tmp_path, items):
    parts = stand_in.parts()
    runtime = exported(tmp_path, parts)
    store = FeatureStore(tmp_path / "store", parts.backbones().key())
    assert extract(items, parts.backbones(), store, jobs=2).computed == len(items)
    for item in items:
        got = store.load(item)
        with open_source(item.path) as source:
            samples = list(source.frames(runtime.selector()))
        samples = [s for s in samples if len(s.frames) == 2]
        np.testing.assert_array_equal(got.k, [s.k for s in samples])
        np.testing.assert_allclose(got.times, [s.frames[0].pts for s in samples])
        quality = runtime.quality_features([runtime.ingest_quality(s) for s in samples])
        semantic = runtime.semantic_features([runtime.ingest_semantic(s) for s in samples])
        for a, b in ((got.quality, quality), (got.semantic, semantic)):
            assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_a_motion_network_sees_whole_windows(tmp_path, items):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        semantic = SlowFastFast(width=1)
    view = dataclasses.replace(stand_in.parts().semantic_view, temporal="window")
    head = HeadConfig(
        quality_dim=20, semantic_dim=2 * sum(semantic.channels), dim=8, reduced_dim=4, gru_dim=4
    )
    parts = stand_in.parts(head=head, semantic=semantic, semantic_view=view)
    runtime = exported(tmp_path, parts)
    backbones = parts.backbones()
    store = FeatureStore(tmp_path / "store", backbones.key())
    extract_video(items[3], backbones, store)
    got = store.load(items[3])
    with open_source(items[3].path) as source:
        samples = [s for s in source.frames(runtime.selector()) if len(s.frames) == 2]
    for _, group in itertools.groupby(enumerate(samples), lambda s: s[1].k // 4):
        part = list(group)
        expected = runtime.semantic_features([runtime.ingest_semantic(s) for _, s in part])
        assert np.abs(got.semantic[[i for i, _ in part]] - expected).max() <= 1e-4 * np.abs(expected).max()
    # Unlike networks on single frames, the head's window is a part of this one's key.
    longer = dataclasses.replace(parts, sampling=dataclasses.replace(parts.sampling, window=2))
    assert longer.backbones().key() != backbones.key()


def exported(tmp_path, parts):
    spec, _ = export_model(
        tmp_path / "model",
        Description(
            name="tiny", version="1", meaning="nothing", scale=Scale("x", 0.0, 1.0, "higher_is_better"),
            sampling=parts.sampling, quality=parts.quality_view, semantic=parts.semantic_view,
            trained_on="nothing", licence="none", source="tests",
        ),
        quality=parts.quality, semantic=parts.semantic, head=A2INetHead(parts.head),
        sizes=((48, 64), (40, 56)),
    )  # fmt: skip
    return A2INetRuntime(spec, threads=1)


def test_failures_are_named_and_the_others_go_on(tmp_path, items):
    text = tmp_path / "text.mp4"
    text.write_bytes(b"no video at all " * 400)
    listed = [Item(tmp_path / "absent.mp4", "absent"), items[0], Item(text, "text"), items[1]]
    backbones = stand_in.parts().backbones()
    store = FeatureStore(tmp_path / "store", backbones.key())
    told = []
    report = extract(
        listed, backbones, store, jobs=2, progress=lambda item, outcome: told.append((item.name, outcome))
    )
    assert (report.computed, report.reused) == (2, 0)
    assert [(f.name, f.code) for f in report.failures] == [
        ("absent", "missing_file"),
        ("text", "not_a_video"),
    ]
    assert sorted(told) == sorted(
        [
            ("absent", "missing_file"),
            ("text", "not_a_video"),
            (items[0].name, "computed"),
            (items[1].name, "computed"),
        ]
    )
    again = extract(listed, backbones, store)
    assert (again.computed, again.reused, len(again.failures)) == (0, 2, 2)


def test_faults_of_ours_are_recorded_as_internal(tmp_path, items, monkeypatch):
    backbones = stand_in.parts().backbones()
    monkeypatch.setattr(backbones, "views", lambda *_, **__: 1 / 0)
    report = extract(items[:1], backbones, FeatureStore(tmp_path / "store", backbones.key()))
    assert [(f.code, f.message) for f in report.failures] == [
        ("internal", "ZeroDivisionError: division by zero")
    ]


def test_ctrl_c_leaves_whole_videos_only(tmp_path, items):
    backbones = stand_in.parts().backbones()
    store = FeatureStore(tmp_path / "store", backbones.key())

    def interrupted(item, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(items, backbones, store, jobs=2, progress=interrupted)
    assert list(tmp_path.rglob("*.part")) == []
    kept = sum(store.has(i) for i in items)
    assert kept >= 1
    assert extract(items, backbones, store).reused == kept


def test_bad_arguments(tmp_path, items):
    backbones = stand_in.parts().backbones()
    store = FeatureStore(tmp_path / "store", backbones.key())
    with pytest.raises(InvalidArgument, match="jobs must be >= 1 and threads >= 0, got 0, 0"):
        extract(items, backbones, store, jobs=0)
    with pytest.raises(InvalidArgument, match="kind must be time_grid, uniform_count, every_frame"):
        stand_in.parts(sampling=SamplingSpec("now and then")).backbones()
    with pytest.raises(InvalidArgument, match="quality must be a module exactly when"):
        stand_in.parts(quality=None).backbones()


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training import stand_in
from vqafast.training.extract import extract
from vqafast.training.feature_store import FeatureStore, FeatureWriter

backbones = stand_in.parts().backbones()
store = FeatureStore(Path(sys.argv[2]), backbones.key())
append, calls = FeatureWriter.append, []

def counted(self, *rows):
    append(self, *rows)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

FeatureWriter.append = counted
extract(stand_in.dataset(Path(sys.argv[1])).items, backbones, store)
"""


def test_a_killed_extraction_goes_on(tmp_path, folder, items):
    root = tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(root)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(root.rglob("*.part"))) == 1
    backbones = stand_in.parts().backbones()
    store = FeatureStore(root, backbones.key())
    assert list(root.rglob("*.part")) == []
    before = sum(store.has(i) for i in items)
    assert 0 < before < len(items)
    report = extract(items, backbones, store)
    assert (report.computed, report.reused) == (len(items) - before, before)
    whole = FeatureStore(tmp_path / "whole", backbones.key())
    extract(items, backbones, whole)
    for item in items:
        assert store.file(item).read_bytes() == whole.file(item).read_bytes()


def test_the_part_of_a_living_writer_stays(tmp_path):
    store, item = FeatureStore(tmp_path / "store", KEY), blob(tmp_path)
    with store.write(item) as writer:
        writer.append(*rows(3))
        FeatureStore(tmp_path / "store", KEY)
    assert len(store.load(item)) == 3
