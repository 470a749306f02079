"""demo/two.jpg, for what needs more than one subject: the animal of the repository's photograph twice, on its
background. And demo/two.webp, the same with a scribble on one of them, as ComfyUI's mask editor leaves it: transparent.
And demo/two.mp4, a clip that begins so, a little further apart: they walk past each other, the one with the scribble
in front; the other is red.

    python -m tests.comfyui.make_two

Cut out by our own nodes with the bundled model; no ComfyUI is needed.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from tests.comfyui.graphs import TWO_CLIP
from tests.comfyui.make_clip import write
from tests.comfyui.make_pictures import ROOT, SCRIBBLE, SCRIBBLE_WIDTH, save, to_image
from tests.nodes.conftest import load_pack

BLUR = 14  # pixels; of what takes the animal's place in the background
# Of each: scale, left side in pixels, whether it is mirrored, and how many pixels it walks in the clip
PLACES = ((0.86, -90, False, 330), (0.7, 284, True, -330))
SIZE, COUNT, APART = (544, 352), 48, 0.15  # of the clip; how far they walk before they stand as in the picture


def main() -> None:
    pack = load_pack("birefnet_suite_two")

    def run(name: str, *inputs, **options) -> tuple:
        node = pack.NODE_CLASS_MAPPINGS[name]
        return getattr(node(), node.FUNCTION)(*inputs, **options)

    photograph = Image.open(ROOT / "demo" / "photograph.jpg")
    photo = torch.from_numpy(np.asarray(photograph) / np.float32(255))[None]
    [model] = run("LoadBiRefNet", "bundled", device="cpu")
    mask, inverted = run("BiRefNetSegment", model, photo)
    cutout = run("BiRefNetApplyMask", photo, mask, black_point=0.1, white_point=0.9)[1]
    behind = run("BiRefNetApplyMask", photo, inverted)[2]
    animal = Image.fromarray((cutout[0] * 255).round().byte().numpy())
    behind = to_image(behind).filter(ImageFilter.GaussianBlur(BLUR))
    picture = beside(animal, behind, 0)
    save(picture, ROOT / "demo" / "two.jpg")
    alpha = Image.new("L", picture.size, 255)
    ImageDraw.Draw(alpha).line(SCRIBBLE, 0, width=SCRIBBLE_WIDTH, joint="curve")
    picture.putalpha(alpha)
    # exact: with the colours that the scribble hides
    picture.save(ROOT / "demo" / "two.webp", quality=85, method=6, exact=True)
    red, green, blue, alpha = animal.split()
    fox = Image.merge("RGBA", (red, green.point(lambda value: value * 0.6), blue.point(lambda value: value / 4), alpha))
    frames = (beside(animal, behind, index / (COUNT - 1) * (1 + APART) - APART, fox) for index in range(COUNT))
    write(ROOT / "demo" / TWO_CLIP, (frame.resize(SIZE, Image.Resampling.LANCZOS) for frame in frames), SIZE)


def beside(animal: Image.Image, behind: Image.Image, walked: float, second: Image.Image | None = None) -> Image.Image:
    """Both animals on the background, when they have walked so far past each other, APART before 0 to 1. second: in
    place of the second animal."""
    picture = behind.copy()
    for scale, left, mirrored, walk in reversed(PLACES):
        size = round(animal.width * scale), round(animal.height * scale)
        small = (second if second and mirrored else animal).resize(size, Image.Resampling.LANCZOS)
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else small
        picture.paste(small, (round(left + walk * walked), picture.height - small.height), small)
    return picture


if __name__ == "__main__":
    main()
