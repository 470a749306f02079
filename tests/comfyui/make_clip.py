"""demo/clip.mp4, to try the video workflows with: two seconds of a hand-held look at the repository's photograph.

python -m tests.comfyui.make_clip
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "demo" / "clip.mp4"
SIZE, RATE, COUNT = (480, 320), 24, 48


def main() -> None:
    write(CLIP, frames(Image.open(ROOT / "demo" / "photograph.jpg")), SIZE)


def write(path: Path, pictures: Iterator[Image.Image], size: tuple[int, int]) -> None:
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "veryslow"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    print(f"{path.relative_to(ROOT)} {path.stat().st_size // 1000} kB")


def frames(photograph: Image.Image) -> Iterator[Image.Image]:
    """A window on the photograph that comes nearer and sways."""
    for index in range(COUNT):
        turn = 2 * math.pi * index / COUNT
        width = 640 - 70 * (1 - math.cos(turn / 2)) / 2
        height = width * SIZE[1] / SIZE[0]
        centre_x = photograph.width / 2 - 12 * math.sin(turn)
        centre_y = photograph.height / 2 - 6 * math.sin(2 * turn)
        box = centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2
        yield photograph.resize(SIZE, Image.Resampling.LANCZOS, box=box)


if __name__ == "__main__":
    main()
