"""The pictures of the help pages (web/docs) and the thumbnails of the workflows, from the repository's photograph.

    python -m tests.comfyui.make_pictures

Made by our own nodes with the bundled model; no ComfyUI is needed. Painted backgrounds are drawn here, in place of
what Stable Diffusion would paint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from tests.nodes.conftest import load_pack

ROOT = Path(__file__).parents[2]
SQUARE = 440  # pixels a side of a thumbnail: the photograph's height
WIDTH = 1020  # pixels of a picture of a help page
SQUARES = 20  # pixels of the checkerboard
GREY, DARK, GREEN = "#d8dde3", "#26304f", "#00b140"
TWO = "two.jpg"  # in demo/: two subjects
SCRIBBLE = ((110, 300), (140, 215), (205, 160), (265, 205), (300, 300))  # on the left one
SCRIBBLE_WIDTH = 12  # pixels
BOXES = ({"x": 40, "y": 110, "width": 322, "height": 330}, {"x": 390, "y": 172, "width": 262, "height": 268})
MARK = "#ffb000"
FILM, HOLE, GAP = 56, 26, 44  # pixels: the width of a film's edge, its holes, and from one to the next


def main() -> None:
    pack = load_pack("birefnet_suite_pictures")

    def run(name: str, *inputs, **options) -> tuple:
        node = pack.NODE_CLASS_MAPPINGS[name]
        return getattr(node(), node.FUNCTION)(*inputs, **options)

    photo, two = (opened(ROOT / "demo" / name) for name in ("photograph.jpg", TWO))
    [model] = run("LoadBiRefNet", "bundled", device="cpu")
    mask, inverted = run("BiRefNetSegment", model, photo)
    behind = scenes(photo)
    over = {name: run("BiRefNetApplyMask", photo, mask, **on(scene))[0] for name, scene in behind.items()}
    grey = run("BiRefNetApplyMask", photo, mask, background="colour", colour=GREY)[0]
    green = run("BiRefNetApplyMask", photo, mask, background="colour", colour=GREEN)[0]
    soft, hard = (
        run("BiRefNetApplyMask", photo, mask, background="colour", colour=DARK, clean_foreground=clean)[0]
        for clean in (True, False)
    )
    scribble = drawn(torch.zeros_like(two), scribble=True)[..., 0]
    hints = ({}, {"hint": scribble}, {"boxes": [BOXES[1:]]})
    asked_for = [
        run("BiRefNetApplyMask", two, run("BiRefNetSegment", model, two, **hint)[0], **on(behind["board"]))[0]
        for hint in hints
    ]
    layers, _, _ = run("BiRefNetSplitSubjects", two, model, boxes=[BOXES])
    layers = [compose(layer[None], behind["board"]) for layer in layers]

    docs, thumbnails = ROOT / "web" / "docs", ROOT / "example_workflows"
    panels(docs / "LoadBiRefNet.jpg", photo, grey_picture(mask), over["board"])
    panels(docs / "BiRefNetSegment.jpg", photo, grey_picture(mask), grey_picture(inverted))
    panels(docs / "BiRefNetSegment_hint.jpg", drawn(two, scribble=True, boxes=BOXES[1:]), *asked_for)
    panels(docs / "BiRefNetSplitSubjects.jpg", drawn(two, boxes=BOXES), *layers)
    panels(docs / "BiRefNetApplyMask.jpg", over["board"], grey, over["dusk"])
    edge = (slice(None), slice(60, 170), slice(160, 330))
    panels(docs / "clean_foreground.jpg", photo[edge], hard[edge], soft[edge])

    panels(docs / "BiRefNetVideoFrames.jpg", *clip(photo))
    strips = [torch.cat(frames, 1) for frames in zip(clip(photo), clip(over["board"]))]
    panels(docs / "BiRefNetMatteVideo.jpg", *strips)

    half = torch.arange(photo.shape[2]) < photo.shape[2] // 2
    square(thumbnails / "1-cut-out.jpg", torch.where(half[:, None], photo, over["board"]))
    square(thumbnails / "2-new-background.jpg", over["noise"])
    square(thumbnails / "3-generated-scene.jpg", over["dusk"])
    square(thumbnails / "4-portrait.jpg", grey)
    square(thumbnails / "5-folder-to-cut-outs.jpg", four(over["board"]))
    square(thumbnails / "6-clip-to-alpha.jpg", film(torch.where(half[:, None], photo, over["board"])))
    square(thumbnails / "7-clip-in-generated-scene.jpg", film(over["night"]))
    cut = asked_for[1:]
    found = rough_mask(run("BiRefNetSegment", model, two, boxes=[BOXES[1:]])[0])
    marked = torch.lerp(two, torch.tensor(ImageColor.getrgb(MARK)) / 255, 0.6 * found[..., None])
    save(pair(drawn(two, scribble=True), cut[0]), thumbnails / "9-this-one.jpg")
    save(pair(marked, cut[1]), thumbnails / "10-sam3-says-what.jpg")
    square(thumbnails / "11-this-one-in-a-clip.jpg", film(as_picture(pair(drawn(two, scribble=True), cut[0]))))
    square(thumbnails / "8-green-screen.jpg", film(torch.where(half[:, None], green, over["dusk"])))


def opened(path: Path) -> Tensor:
    """[1,H,W,3]"""
    return torch.from_numpy(np.asarray(Image.open(path)) / np.float32(255))[None]


def as_picture(image: Image.Image) -> Tensor:
    """[1,H,W,3]"""
    return torch.from_numpy(np.asarray(image) / np.float32(255))[None]


def on(scene: Tensor) -> dict:
    """Options of Apply Mask."""
    return {"background": "image", "background_image": scene}


def drawn(picture: Tensor, *, scribble: bool = False, boxes: tuple[dict, ...] = ()) -> Tensor:
    """The picture with marks on it: a scribble on its left subject, white on black, and boxes."""
    image = to_image(picture)
    draw = ImageDraw.Draw(image)
    if scribble:
        draw.line(SCRIBBLE, "white" if not picture.any() else MARK, width=SCRIBBLE_WIDTH, joint="curve")
    for x, y, width, height in (box.values() for box in boxes):
        draw.rectangle((x, y, x + width, y + height - 1), outline=MARK, width=5)
    return torch.from_numpy(np.asarray(image) / np.float32(255))[None]


def compose(layer: Tensor, scene: Tensor) -> Tensor:
    """[1,H,W,4] over [1,H,W,3]"""
    return torch.lerp(scene, layer[..., :3], layer[..., 3:])


def scenes(photo: Tensor) -> dict[str, Tensor]:
    """Backgrounds of the photograph's size: a checkerboard, dusk, a starry night, and the photograph
    dissolving into noise."""
    _, height, width, _ = photo.shape
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    rows, columns = torch.arange(height)[:, None] // SQUARES, torch.arange(width) // SQUARES
    board = 0.75 + 0.15 * ((rows + columns) % 2)
    sky = torch.tensor([0.16, 0.20, 0.42]) * (1 - y[..., None]) + torch.tensor([0.98, 0.62, 0.38]) * y[..., None]
    sun = torch.exp(-((x - 0.72) ** 2 + (y - 0.55) ** 2) / 0.03)[..., None] * torch.tensor([0.5, 0.4, 0.2])
    night = torch.tensor([0.02, 0.04, 0.14]) * (1 - y[..., None]) + torch.tensor([0.16, 0.26, 0.46]) * y[..., None]
    stars = (torch.rand((height, width), generator=torch.Generator().manual_seed(1)) > 0.9985).float() * (1 - y)
    stars = torch.nn.functional.max_pool2d(stars[None], 2, 1)
    stars = torch.nn.functional.pad(stars, (0, 1, 0, 1))[0, ..., None]
    moon = (1.5 - torch.hypot((x - 0.8) * width, (y - 0.2) * height) / 24).clamp(0, 1)[..., None]
    cells = torch.rand((1, 3, height // 8, width // 8), generator=torch.Generator().manual_seed(0))
    noise = torch.nn.functional.interpolate(cells, (height, width), mode="nearest").movedim(1, -1)
    part = ((x - 0.25) * 2).clamp(0, 1)[..., None]
    return {
        "board": board[None, ..., None].expand_as(photo),
        "dusk": (sky + sun).clamp(0, 1)[None],
        "night": torch.maximum(torch.maximum(night, stars), moon)[None],
        "noise": photo * (1 - part) + noise * part,
    }


def clip(picture: Tensor) -> list[Tensor]:
    """Four frames [1,H,W,3] of a pan over the picture."""
    width = picture.shape[2] * 3 // 4
    return [picture[:, ::2, left : left + width : 2] for left in range(30, 151, 40)]


def grey_picture(mask: Tensor) -> Tensor:
    return mask[..., None].expand(*mask.shape, 3)


def four(picture: Tensor) -> Tensor:
    """The picture four times, at half the size, every other one mirrored."""
    small = middle(picture)[:, ::2, ::2]
    row = torch.cat((small, small.flip(2)), 2)
    return torch.cat((row, row.flip(2)), 1)


def film(picture: Tensor) -> Tensor:
    """The picture's middle with a film's perforated edges above and below."""
    made = middle(picture).clone()
    for top in (0, SQUARE - FILM):
        made[:, top : top + FILM] = 0.06
        hole = slice(top + (FILM - HOLE) // 2, top + (FILM + HOLE) // 2)
        for left in range((GAP - HOLE) // 2, SQUARE, GAP):
            made[:, hole, left : left + HOLE] = 0.92
    return made


def rough_mask(mask: Tensor) -> Tensor:
    """A mask [1,H,W] hard and in blocks, about as SAM 3 leaves it."""
    blocks = torch.nn.functional.avg_pool2d(mask, 10)
    return torch.nn.functional.interpolate((blocks > 0.5).float()[None], mask.shape[1:])[0]


def pair(above: Tensor, below: Tensor) -> Image.Image:
    """The lower parts of two wide pictures [1,H,W,3], one above the other, as a square."""
    parts = [to_image(picture[:, -picture.shape[2] // 2 :]) for picture in (above, below)]
    made = Image.new("RGB", (SQUARE, SQUARE))
    for index, part in enumerate(parts):
        made.paste(part.resize((SQUARE, SQUARE // 2), Image.Resampling.LANCZOS), (0, index * SQUARE // 2))
    return made


def middle(picture: Tensor) -> Tensor:
    left = (picture.shape[2] - SQUARE) // 2
    return picture[:, :SQUARE, left : left + SQUARE]


def panels(path: Path, *pictures: Tensor) -> None:
    """Pictures [1,H,W,3] of one size beside each other."""
    sheet = to_image(torch.cat([picture.float() for picture in pictures], 2))
    save(sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width))), path)


def square(path: Path, picture: Tensor) -> None:
    save(to_image(middle(picture)), path)


def to_image(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture[0].clamp(0, 1) * 255).round().byte().numpy())


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path, quality=85, optimize=True, progressive=True)
    print(f"{path.relative_to(ROOT)} {image.width} x {image.height}, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
