"""The pixels' aspect of WebM files, which stands in their header alone: PyAV cannot have FFmpeg write it there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from .matroska import HEAD, SEGMENT

TRACKS, TRACK = bytes.fromhex("1654ae6b"), b"\xae"
NAME, VIDEO, VOID, CRC = b"\x53\x6e", b"\xe0", b"\xec", b"\xbf"
WIDTH, HEIGHT, SHOWN_WIDTH, SHOWN_HEIGHT = b"\xb0", b"\xba", b"\x54\xb0", b"\x54\xba"
HEADER = 1 << 20  # bytes in which the tracks are; they stand before the pictures
PLACE = "place for the size as shown"  # a track's name, in whose place the size goes


def put_aspect(path: Path, aspect: Fraction) -> None:
    """Write the pixels' aspect, width / height, into a file of ours: as the size in which the track is shown whose name
    is PLACE, and in the room that this name takes. ValueError where there is none."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(HEADER))
        tracks = next(found for found in _inside(head, *_content(head)) if found[0] == TRACKS)
        for kind, begin, end in _inside(head, *tracks[1:]):
            if kind == TRACK and PLACE.encode() in head[begin:end]:
                head[begin:end] = _with_size_as_shown(head[begin:end], aspect)
                break
        else:
            raise ValueError(f"{path} has no place for the pixels' aspect")
        kind, begin, end = next(_inside(head, *tracks[1:]))
        if kind == CRC:  # of all that follows it
            head[begin:end] = zlib.crc32(head[end : tracks[2]]).to_bytes(4, "little")
        file.seek(0)
        file.write(head)


def _with_size_as_shown(track: bytes, aspect: Fraction) -> bytes:
    made = b""
    for kind, begin, end in _inside(track, 0, len(track)):
        content = bytes(track[begin:end])
        if kind == VIDEO:
            parts = {part: content[first:last] for part, first, last in _inside(content, 0, len(content))}
            size = (int.from_bytes(parts[WIDTH], "big"), int.from_bytes(parts[HEIGHT], "big"))
            for part, side in zip((SHOWN_WIDTH, SHOWN_HEIGHT), size_as_shown(size, aspect)):
                content += part + b"\x84" + side.to_bytes(4, "big")
        if kind != NAME:
            made += kind + (0x4000 | len(content)).to_bytes(2, "big") + content
    spare = len(track) - len(made) - 2
    if not 0 <= spare < 127:
        raise ValueError("the track's header does not fit")
    return made + VOID + bytes([0x80 | spare]) + bytes(spare)


def size_as_shown(size: tuple[int, int], aspect: Fraction) -> tuple[int, int]:
    """About (width times aspect, height), but of exactly that shape where small enough numbers are."""
    shape = size[0] * aspect / size[1]
    times = max(1, round(size[1] / shape.denominator))
    if abs(times * shape.denominator - size[1]) <= size[1] / 20:
        return times * shape.numerator, times * shape.denominator
    return max(1, round(size[0] * aspect)), size[1]


def _content(head: bytes) -> tuple[int, int]:
    """From where to where the segment's content lies in the head."""
    place = head.find(SEGMENT, 0, HEAD) + len(SEGMENT)
    return place + 9 - head[place].bit_length(), len(head)


def _inside(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(id, where its content begins, where it ends) of each element between two places."""
    while begin < end:
        width = 9 - data[begin].bit_length()
        kind, place = bytes(data[begin : begin + width]), begin + width
        width = 9 - data[place].bit_length()
        length = int.from_bytes(data[place : place + width], "big") & ((1 << 7 * width) - 1)
        begin = place + width + length
        yield kind, place + width, begin
