"""Pixels that are not square look right in every output, or become square by choice."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from birefnet_core.video import FORMATS, Clip, Look, Span, matte_clip, read_batch
from birefnet_core.video.formats import find_format
from birefnet_core.video.notes import ClipNote
from birefnet_core.video.split import join
from birefnet_core.video.webm import size_as_shown

WIDE = Fraction(32, 27)
CODED = [name for name, row in FORMATS.items() if row.muxer and not row.animation]


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


def nothing(pixels):
    return torch.zeros(pixels.shape[:3])


def disc(index, width, height, aspect=WIDE):
    """A frame with a disc that is round as shown."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((x - width / 2) * float(aspect), y - height / 2) < 0.35 * height
    return np.where(inside[..., None], np.uint8((220, 40, 40)), np.uint8((40, 40, 220)))


def roundness(rgb, aspect=1):
    """Width / height of what is red, as shown."""
    red = (rgb[..., 0].astype(int) > 130) & (rgb[..., 2] < 130)
    y, x = np.nonzero(red)
    return float((np.ptp(x) + 1) * aspect / (np.ptp(y) + 1))


@pytest.fixture
def dv(make_clip):
    """`dv(name, ...)` -> a clip of 180 x 120 at 32:27."""

    def make(name="dv.mp4", aspect=WIDE, size=(180, 120), **more):
        return make_clip(
            name, size=size, count=3, frame=lambda *a: disc(*a, aspect=aspect), pixel_aspect=aspect, **more
        )

    return make


@pytest.fixture
def _quiet(recwarn):
    """The note that pixels are not square is not what is tested."""


def aspect_of(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].sample_aspect_ratio


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("format", CODED)
@pytest.mark.parametrize("aspect", [WIDE, Fraction(8, 9), Fraction(64, 45), Fraction(10, 11), Fraction(4, 3)])
def test_the_aspect_stays(dv, tmp_path, format, aspect):
    path = matte_clip(Clip(dv(aspect=aspect)), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
    assert aspect_of(path) == aspect
    assert len(list(Clip(path).frames())) == 3
    assert Clip(path).info.pixel_aspect == aspect


@pytest.mark.parametrize("format", ["webp", "apng"])
def test_what_knows_square_pixels_only_is_stretched(dv, tmp_path, format):
    clip = Clip(dv())
    with pytest.warns(ClipNote, match="knows square ones only"):
        path = matte_clip(clip, tmp_path / f"out.{format}", opaque, format=format)
    with Image.open(path) as made:
        assert made.size == clip.info.shown != (clip.info.width, clip.info.height)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("format", ["prores", "webm", "h264"])
def test_a_turned_clip_has_its_aspect_turned(dv, tmp_path, format):
    source = Clip(dv(rotation=90))
    assert (source.info.width, source.info.height, source.info.pixel_aspect) == (120, 180, 1 / WIDE)
    path = matte_clip(source, tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
    assert aspect_of(path) == 1 / WIDE
    square = matte_clip(source, tmp_path / f"square{FORMATS[format].suffix}", opaque, format=format, square_pixels=True)
    info = Clip(square).info
    assert (info.width, info.height, info.pixel_aspect) == (120, 214, 1)
    assert roundness(frames_of(square)[0]) == pytest.approx(1, abs=0.04)
    batch = read_batch(source, Span(), square_pixels=True)
    assert batch.frames.shape[1:3] == (214, 120)
    assert roundness((batch.frames[0] * 255).numpy()) == pytest.approx(1, abs=0.04)


@pytest.mark.usefixtures("_quiet")
def test_png_pictures_say_it_as_png_does(dv, tmp_path):
    source = Clip(dv())
    folder = matte_clip(source, tmp_path / "stored", opaque, format="png")
    with Image.open(folder / "000001.png") as picture:
        assert picture.size == (180, 120) and picture.info["aspect"] == (27, 32)  # pixels a unit, across and down
    folder = matte_clip(source, tmp_path / "square", opaque, format="png", square_pixels=True)
    with Image.open(folder / "000001.png") as picture:
        assert picture.size == (214, 120) and picture.info["aspect"] == (1, 1)
        assert roundness(np.array(picture)) == pytest.approx(1, abs=0.03)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("format", CODED)
def test_square_pixels_by_choice(dv, tmp_path, format):
    path = matte_clip(
        Clip(dv()), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format, square_pixels=True
    )  # fmt: skip
    info = Clip(path).info
    shown = 3 * 214 if format == "side-by-side" else 214
    assert (info.width, info.height, info.pixel_aspect) == (shown, 120, 1)
    if format != "mask":
        assert roundness(frames_of(path)[0][:, :214]) == pytest.approx(1, abs=0.04)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_background_pictures_look_right(dv, tmp_path, square, as_tensor):
    drawn = Image.new("RGB", (384, 216), (40, 40, 220))
    ImageDraw.Draw(drawn).ellipse((112, 28, 272, 188), fill=(220, 40, 40))
    drawn.save(tmp_path / "behind.png")
    behind = torch.from_numpy(np.array(drawn)) / 255 if as_tensor else tmp_path / "behind.png"
    path = matte_clip(
        Clip(dv()), tmp_path / "out.mp4", nothing, format="h264", look=Look(background=behind), square_pixels=square
    )
    assert roundness(frames_of(path)[0], aspect_of(path)) == pytest.approx(1, abs=0.03)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("format", ["prores", "webm", "h264"])
def test_several_processes_keep_it(dv, tmp_path, format):
    clip, suffix = Clip(dv()), FORMATS[format].suffix
    parts = [
        matte_clip(clip, tmp_path / f"{index}{suffix}", opaque, format=format, span=Span(skip=skip, count=count),
                   origin=clip.times()[0], sound=False)
        for index, (skip, count) in enumerate([(0, 1), (1, 2)])
    ]  # fmt: skip
    out = tmp_path / f"out{suffix}"
    join(parts, out, clip, find_format(format), Span(), sound=False, metadata=None, overwrite=False)
    assert aspect_of(out) == WIDE and len(frames_of(out)) == 3


def test_frames_say_that_they_are_squeezed(dv):
    clip = Clip(dv())
    with pytest.warns(ClipNote, match=r"dv\.mp4: its pixels are 1\.185 times as wide as high \(32:27\); .* 214 x 120"):
        assert read_batch(clip, Span()).frames.shape[1:3] == (120, 180)


def test_square_frames_say_nothing(dv, make_clip, recwarn):
    assert read_batch(Clip(dv()), Span(), square_pixels=True, longest_side=107).frames.shape[1:3] == (60, 108)
    read_batch(Clip(make_clip("square.mp4")), Span())
    assert not [warning for warning in recwarn if issubclass(warning.category, ClipNote)]


def test_runs_say_that_pixels_stay_as_they_are(dv, tmp_path):
    with pytest.warns(ClipNote, match=r"its pixels are 1\.185 times as wide as high \(32:27\), and stay so"):
        matte_clip(Clip(dv()), tmp_path / "out.mov", opaque)


@pytest.mark.usefixtures("_quiet")
def test_the_alpha_is_stretched_with_the_frame(make_clip):
    def half(index, width, height):
        rgba = np.full((height, width, 4), 255, np.uint8)
        rgba[:, : width // 2, 3] = 0
        return rgba

    source = make_clip("alpha.mov", codec="png", pixels="rgba", size=(180, 120), count=1, frame=half, pixel_aspect=WIDE)
    alpha = read_batch(Clip(source), Span(), square_pixels=True).alpha
    assert alpha.shape[1:] == (120, 214)
    assert (alpha[..., :100] == 0).all() and (alpha[..., 114:] == 1).all()


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((720, 576), Fraction(64, 45), (1024, 576)),
        ((720, 480), Fraction(32, 27), (848, 477)),
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),
        ((719, 481), Fraction(32, 27), (852, 481)),
    ],
)
def test_the_size_as_shown_is_of_the_right_shape(size, aspect, shown):
    assert size_as_shown(size, aspect) == shown
