"""The look-ahead alone: decode order in, steps and entries out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vqafast.video.bitstream import Coded, NalReader, read_av1, read_vp9
from vqafast.video.reorder import HELD_PACKETS, Planner, Unit
from vqafast.video.sampling import Clips, EveryFrame, TimeGrid
from vqafast.video.timeline import Assembler, Chooser, Clock

RESET, PLAIN = Coded(True, True, b""), Coded(False, True, b"")


def plan(units: list[Unit[int]], selector: Any, window: int = 4, **options: Any) -> tuple[Any, Any]:
    chooser = Chooser(selector.begin(), selector.burst, Clock(1.0, 1.0))
    settings = {"skip_nonref": True, "intra_only": False, "ordered": True, **options}
    planner: Planner[int] = Planner(chooser, window=window, **settings)
    steps = [step for unit in units for step in planner.push(unit)]
    return steps + list(planner.finish()), planner


def gop(first: int, length: int) -> list[Unit[int]]:
    """I P B P B ... in decode order: the frame at 2 comes before the one at 1."""
    order = [0]
    for start in range(1, length, 2):
        order += [start + 1, start] if start + 1 < length else [start]
    return [Unit(first + o, first + o, 1, RESET if o == 0 else PLAIN) for o in order]


def test_everything_is_sent_when_everything_is_wanted() -> None:
    units = gop(0, 9) + gop(9, 9)
    steps, planner = plan(units, EveryFrame())
    assert [s.item for s in steps] == [u.item for u in units]
    assert not any(s.nonref for s in steps)
    assert [e.raw for e in planner.entries] == list(range(18))


def test_the_tail_of_a_gop_is_left_out() -> None:
    steps, planner = plan(gop(0, 20) + gop(20, 20) + gop(40, 20), TimeGrid(1 / 44))
    # Wanted: 0 and 44. The second GOP goes as a whole.
    assert [s.item for s in steps if not s.nonref] == [0, 44]
    assert [s.item for s in steps] == [0, 40, 42, 41, 44]
    assert planner.unsent == 55


def test_parameter_sets_are_never_left_out() -> None:
    units = gop(0, 4) + gop(4, 4) + gop(8, 4)
    units[4].must_feed = True
    steps, _ = plan(units, TimeGrid(1 / 8))
    assert [s.item for s in steps] == [0, 4, 8]


def test_hidden_units_are_sent_and_not_counted() -> None:
    units = gop(0, 6)
    for unit in units[:3]:
        unit.hidden = True
    steps, planner = plan(units, EveryFrame())
    assert len(steps) == 6
    assert [(e.index, e.raw) for e in planner.entries] == [(0, 3), (1, 4), (2, 5)]


def test_missing_or_contradicting_times_end_the_selection() -> None:
    for bad in (None, 0, -5):
        units = [*gop(0, 30), Unit(99, bad, 1, PLAIN), *gop(31, 8)]
        steps, planner = plan(units, TimeGrid(1 / 100))
        assert not planner.ordered
        assert [s.item for s in steps][-9:] == [99, *(u.item for u in units[-8:])]


def test_held_packets_are_bounded() -> None:
    units = [Unit(i, i, 1, RESET if i == 0 else PLAIN) for i in range(3 * HELD_PACKETS)]
    chooser = Chooser(TimeGrid(1 / 10**6).begin(), 1, Clock(1.0, 1.0))
    planner: Planner[int] = Planner(chooser, window=0, skip_nonref=True, intra_only=False, ordered=True)
    sent = 0
    for number, unit in enumerate(units, start=1):
        sent += len(list(planner.push(unit)))
        assert number - sent <= HELD_PACKETS + 1


@given(st.lists(st.integers(1, 25), min_size=1, max_size=8), st.integers(1, 40), st.integers(1, 3))
def test_wanted_frames_and_their_references_are_always_sent(
    lengths: list[int], every: int, burst: int
) -> None:
    units, first = [], 0
    for length in lengths:
        units += gop(first, length)
        first += length
    steps, planner = plan(units, TimeGrid(1 / every, burst))
    sent = {s.item: s for s in steps}
    order = [u.item for u in units]
    assert [s.item for s in steps] == [i for i in order if i in sent]
    assert [e.raw for e in planner.entries] == list(range(first))
    for entry in planner.entries:
        if entry.wanted:
            assert not sent[entry.raw].nonref
            key = max(u.item for u in units if u.coded.reset and u.item <= (entry.raw or 0))
            start, end = order.index(key), order.index(entry.raw)
            assert all(item in sent for item in order[start:end])


def test_bursts_share_frames_and_drop_with_damage() -> None:
    from vqafast.video.source import Counts

    counts = Counts()
    assembler = Assembler(3, counts)
    chooser = Chooser(EveryFrame(3).begin(), 3, Clock(1.0, 1.0))
    got = []
    for raw in range(8):
        got += list(assembler.add(chooser.admit(raw), None if raw == 4 else raw))  # type: ignore[arg-type]
    got += list(assembler.finish())
    assert [(s.k, s.frames) for s in got] == [
        (0, (0, 1, 2)), (1, (1, 2, 3)), (5, (5, 6, 7)), (6, (6, 7)), (7, (7,)),
    ]  # fmt: skip
    assert counts.dropped_samples == 3


def test_strided_bursts_overlap_and_drop_with_damage() -> None:
    from vqafast.video.source import Counts

    selector, counts = Clips(3, 2, 3), Counts()
    assembler = Assembler(3, counts, 2)
    chooser = Chooser(selector.begin(length=9), 3, Clock(1.0, 1.0), 2)
    wanted, got = [], []
    for raw in range(9):
        entry = chooser.admit(raw)
        wanted += [raw] if entry.wanted else []
        if entry.wanted:
            got += list(assembler.add(entry, None if raw == 6 else raw))  # type: ignore[arg-type]
    # Clips begin at 0, 2 and 3; only the second has the damaged frame.
    assert wanted == [0, 2, 3, 4, 5, 6, 7]
    assert [(s.k, s.frames) for s in got] == [(0, (0, 2, 4)), (2, (3, 5, 7))]
    assert counts.dropped_samples == 1


def test_clock() -> None:
    clock = Clock(0.01, 0.04)
    raws = [500, 504, None, 512, 510, 516, 0, 4]
    assert [round(clock.seconds(r), 3) for r in raws] == [0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28]
    assert (clock.missing, clock.jumps) == (1, 2)
    clock = Clock(0.001, 0.04)
    for raw in [*range(0, 4000, 40), *range(4400, 8000, 40)]:
        clock.seconds(raw)
    assert clock.gaps() == (1, 10)


def test_header_readers() -> None:
    def avc(*units: bytes) -> memoryview:
        return memoryview(b"".join(len(u).to_bytes(4, "big") + u for u in units))

    extradata = b"\x01\x64\x00\x1f\xff\xe1" + bytes(20)
    h264 = NalReader("h264", extradata).read
    assert h264(avc(b"\x06\x01", b"\x65\x88\x80")) == Coded(True, True, b"")
    assert h264(avc(b"\x67\x42\x00", b"\x68\xce", b"\x65\x88")).parameters == b"\x67\x42\x00\x68\xce"
    assert h264(avc(b"\x41\x9a\x00")) == Coded(False, True, b"")
    assert NalReader("h264", None).read(memoryview(b"\0\0\0\1\x09\xf0\0\0\1\x65\x88")).reset
    layered = bytearray(30)
    layered[0], layered[21] = 1, (3 << 3) | 3
    hevc = NalReader("hevc", bytes(layered)).read
    assert not hevc(avc(b"\x00\x01\x80")).disposable  # TRAIL_N of the lowest of three layers
    assert hevc(avc(b"\x04\x03\x80")).disposable  # TSA_N of the highest
    assert hevc(avc(b"\x26\x01\x80")).reset  # IDR_W_RADL
    assert not hevc(avc(b"\x26\x01\xc0")).reset  # ... that throws away what was not shown
    assert not hevc(avc(b"\x2a\x01\x80")).reset  # CRA
    assert h264(memoryview(b"")) == Coded(False, False, b"")
    assert read_vp9(memoryview(b"\x82\x49")).reset
    assert not read_vp9(memoryview(b"\x86\x00")).reset
    assert not read_vp9(memoryview(b"")).reset
    assert read_av1(memoryview(b"\x12\x00\x0a\x01\x00\x32\x02\x10\x00")).reset
    assert not read_av1(memoryview(b"\x12\x00\x32\x02\x30\x00")).reset


@given(st.binary(max_size=200), st.sampled_from(["h264", "hevc"]), st.booleans())
def test_header_readers_survive_anything(data: bytes, codec: str, prefixed: bool) -> None:
    extradata = b"\x01" + bytes(30) if prefixed else None
    view = memoryview(data)
    NalReader(codec, extradata).read(view)
    NalReader(codec, data)
    read_vp9(view)
    read_av1(view)
