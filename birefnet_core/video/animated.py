"""The last picture's duration of animated WebP and PNG: FFmpeg's encoders repeat that of the one before."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

MOST = 65535  # that a number of two bytes holds
LONGEST = (1 << 24) - 1  # milliseconds, in three bytes
PNG_HEAD, RIFF_HEAD = 8, 12  # bytes before the first chunk


def put_end(path: Path, muxer: str, end: Fraction) -> None:
    """Let the animation in a file last `end` seconds in all, by how long its last picture is shown. muxer: "webp" or
    "apng"; files of others stay as they are."""
    if muxer == "webp":
        _put_in_webp(path, end)
    elif muxer == "apng":
        _put_in_png(path, end)


def _put_in_webp(path: Path, end: Fraction) -> None:
    """ANMF: place and size in 12 bytes, then milliseconds in 3."""
    with open(path, "r+b") as file:
        frames = [place for name, place in _chunks(file, RIFF_HEAD, "<4sI", pad=True) if name == b"ANMF"]
        before = sum(_number(file, place + 12) for place in frames[:-1])
        if frames:
            file.seek(frames[-1] + 12)
            file.write(min(max(1, round(1000 * end) - before), LONGEST).to_bytes(3, "little"))


def _number(file, place: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(3), "little")


def _put_in_png(path: Path, end: Fraction) -> None:
    """fcTL: 26 bytes, of which the seconds are a fraction of two numbers from byte 20 on; then a checksum."""
    with open(path, "r+b") as file:
        frames = [place for name, place in _chunks(file, PNG_HEAD, ">I4s", extra=4) if name == b"fcTL"]
        controls = []
        for place in frames:
            file.seek(place)
            controls.append(file.read(26))
        before = sum(Fraction(*struct.unpack_from(">HH", control, 20)) for control in controls[:-1])
        if frames:
            delay = min(max(end - before, Fraction(1, 1000)), Fraction(MOST))
            delay = delay.limit_denominator(max(1, min(1000, int(MOST / delay))))
            control = controls[-1][:20] + struct.pack(">HH", delay.numerator, delay.denominator) + controls[-1][24:]
            file.seek(frames[-1])
            file.write(control + struct.pack(">I", zlib.crc32(b"fcTL" + control)))


def _chunks(file, first: int, head: str, *, pad: bool = False, extra: int = 0) -> Iterator[tuple[bytes, int]]:
    """(name, place of the data) of each chunk; pad: to even lengths; extra: bytes after the data."""
    place = first
    while True:
        file.seek(place)
        data = file.read(8)
        if len(data) < 8:
            return
        one, other = struct.unpack(head, data)
        name, length = (one, other) if isinstance(one, bytes) else (other, one)
        yield name, place + 8
        place += 8 + length + extra + (length % 2 if pad else 0)
