"""What values of colours stand for, by ITU-T H.273's numbers of primaries and curves: as clips name them, and PNGs in
their chunk cICP."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .linear import to_linear

DYNAMIC = {16: "PQ", 18: "HLG"}  # curves of high dynamic range
# Curves of standard range that look plainly wrong where sRGB's is expected. Not gamma 2.8: PAL discs say they have it,
# and are made as others are.
UNUSUAL = {8: "linear light", 9: "a logarithm", 10: "a logarithm", 17: "DCI's cinemas"}
# Primaries that are not about those of sRGB, as BT.709's and BT.601's are.
WIDE = {4: "NTSC of 1953", 8: "film", 9: "BT.2020", 10: "XYZ", 11: "DCI-P3", 12: "Display P3"}
UNSPECIFIED = 2
# Chromaticities of red, green, blue and white, by the number of the primaries.
C, D65 = (0.310, 0.316), (0.3127, 0.3290)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65)
CHROMATICITIES = {
    1: SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), C),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: (*P3, (0.314, 0.351)),
    12: (*P3, D65),
}
PNG_START, PNG_PIXELS = b"\x89PNG\r\n\x1a\n", (b"IDAT", b"IEND")
RGB, WHOLE_RANGE = 0, 1  # the chunk's other numbers


@dataclass(frozen=True)
class Coding:
    """H.273's numbers of a picture's primaries and transfer curve."""

    primaries: int
    transfer: int

    @property
    def dynamic(self) -> str:
        """The name of a curve of high dynamic range; "" for others."""
        return DYNAMIC.get(self.transfer, "")

    @property
    def unlike(self) -> str:
        """What makes it look wrong where sRGB is expected, "" where nothing does."""
        found = [f"high dynamic range ({self.dynamic})"] if self.dynamic else []
        found += [f"the curve of {UNUSUAL[self.transfer]}"] if self.transfer in UNUSUAL else []
        found += [f"the primaries of {WIDE[self.primaries]}"] if self.primaries in WIDE else []
        return " and ".join(found)

    def behind(self, name: str) -> str:
        """A sentence for one that goes behind a subject, from the file's name; "" where it is as sRGB."""
        if not self.unlike:
            return ""
        return f"{name} has {self.unlike}: behind the subject its colours are given as they are, as if they were sRGB's"

    @property
    def chunk(self) -> bytes:
        """What a PNG's cICP says."""
        return bytes((self.primaries, self.transfer, RGB, WHOLE_RANGE))

    @property
    def known(self) -> bool:
        """Whether `to_light` knows the primaries: those whose white is sRGB's."""
        return self.primaries == UNSPECIFIED or CHROMATICITIES.get(self.primaries, (None,))[-1] == D65

    def to_light(self, values: np.ndarray) -> np.ndarray:
        """Values [..., 3] as linear light of sRGB's primaries, float32; colours that sRGB has not are below 0 or above
        1. Of unknown primaries the light is theirs."""
        light = to_linear(values, self.transfer)
        if not self.known or self.primaries in (1, UNSPECIFIED):
            return light
        own = CHROMATICITIES[self.primaries]
        return (light @ (np.linalg.inv(_to_xyz(SRGB)) @ _to_xyz(own)).T).astype(np.float32)


def _to_xyz(chromaticities: tuple) -> np.ndarray:
    """The matrix from light of these primaries to XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def coding_of(path: Path) -> Coding | None:
    """What a PNG says in its chunk cICP; None for files without one, or with one of narrow range or YUV, which PNG has
    not."""
    with open(path, "rb") as file:
        if file.read(len(PNG_START)) != PNG_START:
            return None
        while len(head := file.read(8)) == 8:
            (length,), name = struct.unpack(">I", head[:4]), head[4:]
            if name == b"cICP" and length == 4:
                primaries, transfer, *rest = file.read(4)
                return Coding(primaries, transfer) if rest == [RGB, WHOLE_RANGE] else None
            if name in PNG_PIXELS:
                return None
            file.seek(length + 4, 1)
    return None
