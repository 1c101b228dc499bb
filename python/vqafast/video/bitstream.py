"""The few bits of a coded packet that say what may be left undecoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PEEK = 64 * 1024


class Coded(NamedTuple):
    """What a packet's headers say.

    Attributes
    ----------
    reset : bool
        Nothing after this packet refers to anything before it (IDR, VP9 and AV1 key frame).
    disposable : bool
        The decoder's NONREF rule is right for this packet.
    parameters : bytes
        In-band parameter sets. They outlive a picture, so they must reach the decoder.
    """

    reset: bool
    disposable: bool
    parameters: bytes


NOTHING = Coded(False, False, b"")


class NalReader:
    """Reads the NAL units of H.264 or HEVC packets, length-prefixed or Annex B.

    Attributes
    ----------
    found_picture : bool
        Whether the packet that was read last holds a slice, and so a picture.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.found_picture = False
        self._hevc = codec == "hevc"
        self._length_size = 0
        self._sublayers = 1
        if extradata and extradata[0] == 1 and len(extradata) > (22 if self._hevc else 6):
            self._length_size = 1 + (extradata[21 if self._hevc else 4] & 3)
            if self._hevc:
                # 0 means unknown: then no layer is the highest.
                self._sublayers = extradata[21] >> 3 & 7 or 7
        elif extradata and self._hevc:
            for unit in self._units(memoryview(extradata)):
                self._note_vps(unit)

    def _note_vps(self, unit: memoryview) -> None:
        if len(unit) > 3 and unit[0] >> 1 & 63 == 32:
            self._sublayers = max(self._sublayers, 1 + (unit[3] >> 1 & 7))

    def _units(self, data: memoryview) -> Iterator[memoryview]:
        if self._length_size:
            position = 0
            while position + self._length_size < len(data):
                start = position + self._length_size
                size = int.from_bytes(data[position:start], "big")
                yield data[start : start + size]
                position = start + size
            return
        head = bytes(data[:_PEEK])
        start = head.find(b"\0\0\1")
        while start >= 0:
            following = head.find(b"\0\0\1", start + 3)
            yield data[start + 3 : following if following >= 0 else len(data)]
            start = following

    def read(self, data: memoryview) -> Coded:
        """Read a packet up to its first slice."""
        parameters = b""
        self.found_picture = False
        for unit in self._units(data):
            if len(unit) < 2:
                continue
            if self._hevc:
                kind, layer = unit[0] >> 1 & 63, unit[1] & 7
                if kind < 32:
                    # Decoders pass over slices of the other types, which are reserved.
                    self.found_picture = kind < 10 or 16 <= kind <= 21
                    # A sub-layer non-reference picture may serve higher sub-layers: only those
                    # of the highest are free.
                    disposable = layer >= self._sublayers
                    # An IDR picture may also throw away pictures that were not shown yet.
                    keeps_prior = len(unit) > 2 and not unit[2] & 0x40
                    return Coded(kind in (19, 20) and keeps_prior, disposable, parameters)
                if kind in (32, 33, 34):
                    self._note_vps(unit)
                    parameters += bytes(unit)
            else:
                kind = unit[0] & 31
                if 1 <= kind <= 5:
                    self.found_picture = True
                    return Coded(kind == 5, True, parameters)
                if kind in (7, 8, 13, 15):
                    parameters += bytes(unit)
        return Coded(False, False, parameters)


def read_vp9(data: memoryview) -> Coded:
    """Read a VP9 packet: a key frame resets all references and all probabilities."""
    if not data or data[0] >> 6 != 2:
        return NOTHING
    bits = f"{data[0]:08b}"
    at = 5 if bits[2:4] == "11" else 4
    return Coded(bits[at : at + 2] == "00", False, b"")


def read_av1(data: memoryview) -> Coded:
    """Read an AV1 unit: a shown key frame refreshes every slot, next to its sequence header."""
    position, sequence = 0, False
    while position + 2 < len(data):
        header = data[position]
        kind = header >> 3 & 15
        position += 2 if header & 4 else 1
        size = len(data) - position
        if header & 2:
            size, shift = 0, 0
            while position < len(data):
                byte = data[position]
                position += 1
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128 or shift > 35:
                    break
        if kind == 1:
            sequence = True
        elif kind in (3, 6) and position < len(data):
            first = data[position]
            return Coded(sequence and first & 0xF0 == 0x10, False, b"")
        position += size
    return NOTHING


def read_plain(data: memoryview) -> Coded:  # noqa: ARG001 - one signature for all readers
    """Know nothing of the packet and leave the choice to the decoder."""
    return Coded(False, True, b"")
