"""Clips that are transparent already: opaque stays opaque, colours stay, hidden colours stay hidden."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.video import Clip, Look, Span, matte_clip, read_batch
from birefnet_core.video.behind import filled
from birefnet_core.video.colour import own_alpha, plane, resized


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


@pytest.mark.parametrize("pixels", ["yuva420p", "yuva444p10le", "yuva422p10le", "yuva444p10be", "yuva444p12le",
                                    "yuva444p16le", "gbrap10le", "gbrap12le", "rgba64le"])  # fmt: skip
@pytest.mark.parametrize("size", [(64, 48), (80, 48), (32, 24)])
def test_opaque_is_opaque_at_every_depth(pixels, size):
    frame = av.VideoFrame(64, 48, pixels)
    bits = frame.format.components[3].bits
    most = (2**bits - 1).to_bytes(1 if bits == 8 else 2, "big" if pixels.endswith("be") else "little")
    for part in frame.planes:
        part.update(most * (part.buffer_size // len(most)))
    assert (own_alpha(resized(frame, size)) == 1).all()


@pytest.mark.parametrize("seen", [None, (32, 32)])
@pytest.mark.parametrize("square", [False, True])
def test_prores_of_prores_stays_opaque(make_clip, tmp_path, seen, square):
    source = make_clip("in.mov", codec="prores_ks", pixels="yuva444p10le", count=2, pixel_aspect=Fraction(4, 3),
                       options={"profile": "4444", "alpha_bits": "16"})  # fmt: skip
    matte_clip(Clip(source), tmp_path / "once.mov", opaque, size=seen)
    path = matte_clip(Clip(tmp_path / "once.mov"), tmp_path / "out.mov", opaque, size=seen, square_pixels=square)
    for frame in Clip(path).frames():
        alpha = plane(frame.picture, 3)
        assert (alpha == 2 ** frame.picture.format.components[3].bits - 1).all()


def soft_disc(index, width, height):
    """Colour (200, 100, 100), transparent softly by itself; white is hidden where it is transparent."""
    y, x = np.mgrid[:height, :width]
    alpha = np.clip((height * 0.4 - np.hypot(x - width / 2, y - height / 2)) / 12 + 0.5, 0, 1)
    rgb = np.where(alpha[..., None] > 0, np.uint8((200, 100, 100)), np.uint8(255))
    return np.dstack([rgb, (alpha * 255).round().astype(np.uint8)])


@pytest.mark.parametrize("clean", [False, True])
def test_soft_edges_of_the_clip_itself_keep_their_colours(make_clip, tmp_path, clean):
    source = make_clip("in.mov", codec="png", pixels="rgba", size=(96, 64), count=1, frame=soft_disc)
    folder = matte_clip(Clip(source), tmp_path / "out", opaque, format="png", look=Look(clean_foreground=clean))
    rgba = np.asarray(Image.open(folder / "000001.png")).astype(int)
    truth = soft_disc(0, 96, 64).astype(int)
    assert (rgba[..., 3] == truth[..., 3]).all()
    soft = (truth[..., 3] > 10) & (truth[..., 3] < 245)
    assert soft.sum() > 100
    assert np.abs(rgba - truth)[soft].max() <= 1


def test_what_the_network_makes_soft_is_cleaned(make_clip, tmp_path):
    """Opaque half red, half green in the clip; the network says where they mix that half of it is foreground."""

    def mixed(index, width, height):
        rgba = np.full((height, width, 4), 255, np.uint8)
        rgba[..., :3] = np.where(np.arange(width)[None, :, None] < width // 2, (220, 40, 40), (40, 220, 40))
        rgba[:, width // 2 - 3 : width // 2 + 3, :3] = (130, 130, 40)
        return rgba

    def half(pixels):
        alpha = torch.zeros(pixels.shape[:3])
        alpha[..., : pixels.shape[2] // 2] = 1
        alpha[..., pixels.shape[2] // 2 - 3 : pixels.shape[2] // 2 + 3] = 0.5
        return alpha

    source = make_clip("in.mov", codec="png", pixels="rgba", size=(96, 64), count=1, frame=mixed)
    folder = matte_clip(Clip(source), tmp_path / "out", half, format="png", look=Look(clean_foreground=True))
    rgba = np.asarray(Image.open(folder / "000001.png")).astype(int)
    assert (np.abs(rgba[32, 46:50, :3] - (220, 40, 40)) < 25).all()


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_background_does_not_show_what_it_hides(tmp_path, as_tensor):
    rgba = np.full((40, 60, 4), 255, np.uint8)
    rgba[..., :3] = (10, 200, 30)
    rgba[:, :30, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "behind.png")
    made = filled(torch.from_numpy(rgba) / 255 if as_tensor else tmp_path / "behind.png", (60, 40))
    assert (made[:, :28] == 0).all() and (made[:, 32:] == (10, 200, 30)).all()


def test_frames_of_opaque_prores_are_opaque(make_clip, tmp_path):
    path = matte_clip(Clip(make_clip(count=2)), tmp_path / "out.mov", opaque)
    assert (read_batch(Clip(path), Span()).alpha == 1).all()
