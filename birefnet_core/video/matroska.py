"""Whether a Matroska or WebM file is all there."""

from __future__ import annotations

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
