"""Headers of VP8 and VP9 pictures: which are shown, and their size where a header states it."""

from __future__ import annotations

from typing import NamedTuple

_SYNC_VP8 = b"\x9d\x01\x2a"
_SYNC_VP9 = 0x498342
_HEADER = 32  # bytes; an uncompressed VP9 header up to its size is shorter
_SRGB = 7


class CodedPicture(NamedTuple):
    """What the header of one picture says.

    Attributes
    ----------
    shown : bool
    repeated : bool
        Nothing is coded: an earlier picture is shown.
    size : (int, int) or None
        Width and height, where the header does not take them from a reference.
    """

    shown: bool
    repeated: bool
    size: tuple[int, int] | None


def read_vp8(data: memoryview) -> list[CodedPicture] | None:
    """Read a VP8 packet, which is one picture; None when it is none (RFC 6386, section 9.1)."""
    if len(data) < 3:
        return None
    shown = bool(data[0] >> 4 & 1)
    if data[0] & 1:
        return [CodedPicture(shown, False, None)]
    if len(data) < 10 or bytes(data[3:6]) != _SYNC_VP8:
        return None
    # The upper two bits of each are a hint for scaling.
    width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return [CodedPicture(shown, False, (width, height))]


def read_vp9(data: memoryview) -> list[CodedPicture] | None:
    """Read the pictures of a VP9 packet; None when one is broken, or of another profile than 0."""
    pictures = []
    for part in _superframe(data):
        picture = _read_vp9_picture(part)
        if picture is None:
            return None
        pictures.append(picture)
    return pictures


def _superframe(data: memoryview) -> list[memoryview]:
    """Pictures of a packet, by the index at its end (VP9 specification, annex B)."""
    marker = data[-1] if data else 0
    count, length = (marker & 7) + 1, (marker >> 3 & 3) + 1
    size = 2 + count * length
    if marker >> 5 != 6 or len(data) < size or data[-size] != marker:
        return [data]
    parts, at = [], 0
    for position in range(len(data) - size + 1, len(data) - 1, length):
        end = at + int.from_bytes(data[position : position + length], "little")
        parts.append(data[at:end])
        at = end
    return parts


class _Bits:
    def __init__(self, data: memoryview) -> None:
        self._bits = int.from_bytes(bytes(data[:_HEADER]).ljust(_HEADER, b"\0"), "big")
        self._left = 8 * _HEADER

    def take(self, count: int) -> int:
        self._left -= count
        return self._bits >> self._left & (1 << count) - 1

    def size(self) -> tuple[int, int]:
        return self.take(16) + 1, self.take(16) + 1


def _read_vp9_picture(data: memoryview) -> CodedPicture | None:
    """Read an uncompressed header up to the size (VP9 specification, section 6.2)."""
    bits = _Bits(data)
    if bits.take(2) != 2 or bits.take(2) != 0:
        return None
    if bits.take(1):
        return CodedPicture(True, True, None)
    inter, shown, resilient = bits.take(1), bool(bits.take(1)), bits.take(1)
    if not inter:
        if bits.take(24) != _SYNC_VP9 or bits.take(3) == _SRGB:
            return None
        bits.take(1)  # range
        return CodedPicture(shown, False, bits.size())
    intra_only = 0 if shown else bits.take(1)
    bits.take(0 if resilient else 2)
    if intra_only:
        if bits.take(24) != _SYNC_VP9:
            return None
        bits.take(8)
        return CodedPicture(shown, False, bits.size())
    bits.take(8 + 3 * 4)  # what to refresh, and three references
    from_reference = any(bits.take(1) for _ in range(3))
    return CodedPicture(shown, False, None if from_reference else bits.size())
