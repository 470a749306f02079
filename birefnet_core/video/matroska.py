"""Whether a Matroska or WebM file is all there, and what in it is damaged."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

SEGMENT = bytes.fromhex("18538067")
HEAD = 4096  # bytes in which the segment begins; what lies before it takes some forty


def is_cut_off(file: BinaryIO) -> bool:
    """Whether the file ends before its segment, which holds everything, does. False where the segment does not say how
    long it is, as in recordings that were streamed.

    The length of its pictures could not tell: the header counts how long the last one is held, the frames do not.
    """
    head = file.read(HEAD)
    place = head.find(SEGMENT) + len(SEGMENT)
    if place < len(SEGMENT) or place == len(head) or not head[place]:
        return False
    width = 9 - head[place].bit_length()  # bytes of the number; its leading one says how many
    most = (1 << 7 * width) - 1
    size = int.from_bytes(head[place : place + width], "big") & most
    return size != most and file.seek(0, 2) < place + width + size


CLUSTER, CUES, TIME, BLOCK, GROUP, BLOCK_IN_GROUP, VOID = 0x1F43B675, 0x1C53BB6B, 0xE7, 0xA3, 0xA0, 0xA1, 0xEC
# What lies in a segment, and in a cluster of it: EBML's numbers.
SEGMENTS = {CLUSTER, CUES, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, 0x1254C367, 0x1941A469, VOID, 0xBF}
CLUSTERS = {TIME, BLOCK, GROUP, VOID, 0xA7, 0xAB, 0xBF, 0xAF, 0x5854}
SEARCH = 64 << 20  # bytes behind damage in which the next sound block is looked for
AHEAD = 3  # elements one after the other that make it one


@dataclass(frozen=True)
class Repair:
    """Bytes that stand for damaged ones from `place` on, and the time there in milliseconds."""

    place: int
    data: bytes
    time: int


def repairs(file: BinaryIO) -> list[Repair]:
    """What makes the rest of a cluster readable behind damage, at which FFmpeg gives it up: an element without meaning
    in place of what is damaged."""
    return list(_Walk(file).repairs())


class _Walk:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, file.seek(0, 2)
        self._time = 0  # ticks, of the block passed last

    def _element(self, place: int) -> tuple[int, int, int | None] | None:
        """(id, where its content begins, where it ends: None if it does not say); None for what is no element."""
        self._file.seek(place)
        data = self._file.read(12)
        if len(data) < 2 or not data[0] or data[0] < 0x10:
            return None
        width = 9 - data[0].bit_length()
        if len(data) <= width or not data[width]:
            return None
        number, long = int.from_bytes(data[:width], "big"), 9 - data[width].bit_length()
        most = (1 << 7 * long) - 1
        size = int.from_bytes(data[width : width + long], "big") & most
        begin = place + width + long
        return number, begin, None if size == most else begin + size

    def repairs(self):
        head = self._file.seek(0) or self._file.read(HEAD)
        place = head.find(SEGMENT)
        segment = self._element(place) if place >= 0 else None
        place = segment[1] if segment else self._size
        while place < self._size:
            found = self._element(place)
            if found is None or found[0] not in SEGMENTS:
                return  # FFmpeg itself looks for the next cluster
            if found[0] == CLUSTER:
                place = yield from self._cluster(found[1], found[2])
            elif found[2] is None:
                return
            else:
                place = found[2]

    def _cluster(self, place: int, end: int | None):
        """Where it ends."""
        last, base = min(end or self._size, self._size), 0
        while place < last:
            found = self._element(place)
            if found and found[0] in SEGMENTS - CLUSTERS and end is None:
                return place
            if not self._whole(found, last):
                begin, place = place, self._next(place, last)
                if place is None:
                    return last
                yield Repair(begin, _void(place - begin), self._time)
                continue
            number, begin, after = found
            if number == TIME:
                self._file.seek(begin)
                base = int.from_bytes(self._file.read(after - begin), "big")
            elif number in (BLOCK, GROUP):
                block = begin if number == BLOCK else self._inside(begin, after)
                self._file.seek(block or 0)
                data = self._file.read(4)
                if block is None or data[0] < 0x40:  # of no track
                    yield Repair(place, bytes([VOID]), self._time)
                elif data[0] >= 0x80:
                    self._time = base + int.from_bytes(data[1:3], "big", signed=True)
            place = after
        return last

    def _inside(self, place: int, end: int) -> int | None:
        """Where the content of the block of a group begins."""
        while place < end:
            found = self._element(place)
            if found is None or found[2] is None:
                return None
            if found[0] == BLOCK_IN_GROUP:
                return found[1]
            place = found[2]
        return None

    def _whole(self, found: tuple | None, end: int) -> bool:
        cut_off = end == self._size
        return bool(found) and found[0] in CLUSTERS and found[2] is not None and (found[2] <= end or cut_off)

    def _next(self, place: int, end: int) -> int | None:
        """Where, behind damage, elements follow one another again."""
        self._file.seek(place)
        data = self._file.read(min(SEARCH, end - place))
        for index in range(2, len(data)):
            if data[index] in (BLOCK, GROUP, TIME, CLUSTER >> 24) and self._follows(place + index, end):
                return place + index
        return None

    def _follows(self, place: int, end: int) -> bool:
        for _ in range(AHEAD):
            if place == end:
                return True
            found = self._element(place)
            if found and found[0] == CLUSTER:
                return True
            if not found or found[0] not in CLUSTERS or found[2] is None or found[2] > end:
                return False
            place = found[2]
        return True


def _void(length: int) -> bytes:
    """The header of an element without meaning, of so many bytes in all."""
    if length <= 128:
        return bytes([VOID, 0x80 | (length - 2)])
    return bytes([VOID, 0x01]) + (length - 9).to_bytes(7, "big")


class Repaired(io.RawIOBase):
    """A file as it reads with its repairs."""

    def __init__(self, file: BinaryIO, patches: list[Repair]) -> None:
        self._file, self._patches = file, patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        begin = self._file.tell()
        data = bytearray(self._file.read(size))
        for patch in self._patches:
            for index, value in enumerate(patch.data, patch.place - begin):
                if 0 <= index < len(data):
                    data[index] = value
        return bytes(data)

    def close(self) -> None:
        self._file.close()
        super().close()
