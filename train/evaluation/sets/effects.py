"""effects: text, logos, prints, drawings, line art, glow, smoke and glass with exact alpha on E1's photographs, 12
images of each kind whose longer side is 448-512 pixels. Each kind is a data set of its own:

    python train/evaluate.py --model bundled --data effects/Text --data effects/Glow     # and so on, a row each

The pictures are drawn as those of the training pack are, from other seeds and in other fonts. What shines is on dark
ground, and line art half of the time on plain paper, as they mostly are.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from train.scenes.drawn.kinds import KINDS, draw, read_fonts
from train.shared.pictures import by_stem, contact_sheet, save_picture

from . import composites, e1
from .composites import Background

SEED = 2028
IMAGES = 12  # of a kind
SIZE = 512  # pixels of a drawn cut-out's frame
FONTS = (
    *("fonts-quicksand", "fonts-dancingscript", "fonts-reggae"),
    *("fonts-junction", "fonts-leckerli-one", "fonts-monofur"),
)
SHARE = (0.5, 0.95)  # of the picture's sides that a cut-out takes
DARK = ("Glow",)
PAPER = ("LineArt",)
PLAIN = 0.3  # the least mean difference from what lies behind; what is nearer is pasted in the opposite colours
SHOWN = 6  # of a kind, on the sheet


def build(
    packages: str | Path,
    out: str | Path,
    *,
    fonts: Sequence[str] = FONTS,
    backgrounds: Sequence[Background] | None = None,
    images: int = IMAGES,
    size: int = SIZE,
) -> str:
    """Build the set as e1.build does, in a folder a kind: whole or not at all, the same pixels every time with the same
    packages and versions of NumPy and Pillow. Returns a fingerprint of the pixels."""
    packages = Path(packages)
    composites.check_new(out)
    faces = read_fonts(packages, fonts)
    photographs = composites.read_backgrounds(
        packages, backgrounds if backgrounds is not None else e1.listed_backgrounds()
    )

    def write(folder: Path) -> str:
        fingerprint, strips = hashlib.sha256(), []
        for number, kind in enumerate(KINDS):
            names = {f"{kind}{index}": draw(kind, index, faces, seed=SEED, size=size) for index in range(images)}
            mark = composites.write_composites(
                folder / kind, names, photographs, images=images, seed=SEED + number, put=_put(kind)
            )
            fingerprint.update(mark.encode())
            both = [list(by_stem(folder / kind / part).values())[:SHOWN] for part in ("im", "gt")]
            strips += [(kind, [Image.open(path) for path in pair]) for pair in zip(*both, strict=True)]
        save_picture(contact_sheet(strips, across=SHOWN, cell=160), folder / "sheet.jpg")
        return fingerprint.hexdigest()[:16]

    return composites.build_whole(out, write)


def _put(kind: str):
    """How a cut-out of the kind is pasted."""

    def put(
        cutout: Image.Image, image: np.ndarray, matte: np.ndarray, draw: random.Random, *, standing: bool = False
    ) -> None:
        if kind in DARK:
            image *= draw.uniform(0.08, 0.5)
        elif kind in PAPER and draw.random() < 0.5:
            image[...] = draw.choice((1.0, draw.uniform(0.7, 1)))
        if kind != "LineArt" and _difference(cutout, image) < PLAIN:
            cutout = Image.merge("RGBA", [*map(ImageOps.invert, cutout.split()[:3]), cutout.getchannel("A")])
        composites.place(cutout, image, matte, draw, share=SHARE)

    return put


def _difference(cutout: Image.Image, image: np.ndarray) -> float:
    """Between the mean colour of the cut-out and that of the picture, of its three channels the largest."""
    pixels = np.asarray(cutout, np.float32) / 255
    alpha = pixels[..., 3:]
    mean = (pixels[..., :3] * alpha).sum((0, 1)) / max(float(alpha.sum()), 1e-6)
    return float(np.abs(mean - image.mean((0, 1))).max())
