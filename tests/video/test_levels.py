"""White stays white, black black and grey grey: from every kind of clip into every kind, whatever is done between."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.matting.linear import to_linear
from birefnet_core.video import FORMATS, Clip, Look, Span, matte_clip, read_batch
from birefnet_core.video.colour import FULL, LIMITED, Colours, from_deep_rgb, plane, to_deep_rgb, to_pixels, to_rgb
from tests.video.test_compositors import planes

SIDE = 48  # of squares, one a value
VALUES = (1.0, 0.5, 0.0)
# Pixels of clips, and whether luma goes from 0 on.
KINDS = [("yuv420p", False), ("yuv420p", True), ("yuv420p10le", False), ("yuv420p10le", True), ("yuv444p12le", False),
         ("yuv444p16le", True), ("gray", True), ("gray10le", True), ("bgr0", True), ("gbrp10le", True),
         ("gbrp12le", True), ("gbrp16le", True), ("gbrap16le", True), ("rgb48le", True)]  # fmt: skip
LOOKS = {
    "plain": Look(),
    "clean": Look(clean_foreground=True),
    "despill": Look(despill="green"),
    "both": Look(clean_foreground=True, despill="blue"),
}


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


def squares(pixels, full, values=VALUES):
    """A frame with a square of each value, and the values it holds, which are rounded."""
    bits = av.VideoFormat(pixels).components[0].bits
    black, steps = (0, 2**bits - 1) if full else (16 << bits - 8, 219 << bits - 8)
    codes = [round(black + value * steps) for value in values]
    grey = np.repeat(np.array(codes, np.uint8 if bits == 8 else np.uint16), SIDE)[None].repeat(SIDE, axis=0)
    if pixels in ("bgr0", "rgb48le"):
        rgb = np.repeat(grey[..., None], 3, axis=2)
        made = av.VideoFrame.from_ndarray(rgb, format={"bgr0": "rgb24"}.get(pixels, pixels)).reformat(format=pixels)
    else:
        made = av.VideoFrame(grey.shape[1], SIDE, pixels)
        for index, component in enumerate(made.format.components):
            chroma = pixels.startswith("yuv") and index > 0
            plane(made, index)[:] = 128 << bits - 8 if chroma else 2**bits - 1 if component.is_alpha else grey
        made.colorspace, made.color_range = 1, FULL if full else LIMITED
    return made, np.array([(code - black) / steps for code in codes])


def written(path, frame, codec="ffv1", tags=None, options=None):
    """A clip of that one frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        if not frame.format.is_rgb:
            stream.codec_context.colorspace, stream.codec_context.color_range = frame.colorspace, frame.color_range
        for key, value in (tags or {}).items():
            setattr(stream.codec_context, key, value)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Clip(path)


def middles(values):
    """Of the squares of planes [H, W, ...]."""
    return values[SIDE // 2, SIDE // 2 :: SIDE]


def luma(path):
    """Of the squares of a clip's first frame, and all of its chroma, both in steps of 8 bits."""
    frame = next(Clip(path).frames()).picture
    step = 1 << frame.format.components[0].bits - 8
    return middles(plane(frame, 0)) / step, plane(frame, 1) / step


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("pixels", "full"), KINDS)
def test_white_black_and_grey_are_kept(tmp_path, pixels, full, look):
    frame, truth = squares(pixels, full)
    clip, look = written(tmp_path / "in.mkv", frame), LOOKS[look]

    def matted(format, alphas=None):
        chosen = Look(clean_foreground=look.clean_foreground, despill=look.despill, alphas=alphas)
        path = tmp_path / f"{format}-{alphas}{FORMATS[format].suffix}"
        return matte_clip(clip, path, opaque, format=format, look=chosen)

    for alphas in ("straight", "premultiplied"):
        light = middles(planes(matted("exr", alphas) / f"exr-{alphas}.1001.exr"))
        np.testing.assert_allclose(light[:, :3], to_linear(truth)[:, None].repeat(3, 1), rtol=1e-3, atol=1e-4)
        levels, chroma = luma(matted("prores", alphas))
        assert np.abs(levels - (16 + 219 * truth)).max() <= 0.26  # one of 10 bits
        assert np.abs(chroma - 128).max() <= 0.26
    deep = middles(planes(matted("png16") / "000001.png"))[:, :3]
    np.testing.assert_allclose(deep, truth[:, None].repeat(3, 1), atol=1e-4)
    assert (deep[0] == 1).all() and (deep[2] == 0).all()
    eight = middles(np.asarray(Image.open(matted("png") / "000001.png")))[:, :3]
    assert np.abs(eight / 255 - truth[:, None]).max() <= 0.51 / 255
    levels, _ = luma(matted("h264"))
    assert np.abs(levels - (16 + 219 * truth)).max() <= 1 and levels[0] == 235 and levels[2] == 16


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("look", LOOKS)
def test_the_light_of_high_dynamic_range_is_whole(tmp_path, transfer, look):
    frame, truth = squares("yuv420p10le", False, (1.0, 0.58, 0.75, 0.0))
    frame.colorspace = 9
    clip = written(tmp_path / "in.mkv", frame, tags={"color_primaries": 9, "color_trc": transfer})
    made = Clip(matte_clip(clip, tmp_path / "x.mov", opaque, look=LOOKS[look])).info
    assert (made.primaries, made.transfer) == (9, transfer)
    light = middles(planes(matte_clip(clip, tmp_path / "x", opaque, format="exr", look=LOOKS[look]) / "x.1001.exr"))
    np.testing.assert_allclose(light[:, :3], to_linear(truth, transfer)[:, None].repeat(3, 1), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("transfer", [1, 18])
def test_what_is_beyond_white_and_black_is_kept_where_there_is_room(tmp_path, transfer, look):
    """As in cameras' clips, whose whites go to 109 %."""
    frame, truth = squares("yuv422p10le", False, (936 / 876, 1.0, 0.5, -0.05))
    matrix = 1 if transfer == 1 else 9
    frame.colorspace = matrix
    clip = written(tmp_path / "in.mkv", frame, tags={"color_primaries": matrix, "color_trc": transfer})
    assert plane(next(clip.frames()).picture, 0)[24, 24] == 1000
    look = LOOKS[look]
    made = matte_clip(clip, tmp_path / "x", opaque, format="exr", look=look)
    light = middles(planes(made / "x.1001.exr"))[:, 1]
    np.testing.assert_allclose(light, to_linear(truth, transfer), rtol=1e-3, atol=1e-5)
    assert light[0] > 1.1 * light[1] and light[3] == 0
    for alphas in ("straight", "premultiplied"):
        chosen = Look(clean_foreground=look.clean_foreground, despill=look.despill, alphas=alphas)
        levels, _ = luma(matte_clip(clip, tmp_path / f"{alphas}.mov", opaque, look=chosen))
        assert np.abs(levels - (16 + 219 * truth)).max() <= 0.26
    if transfer == 1:  # 8 bits take no high dynamic range
        for format in ("h264", "webm"):
            made = matte_clip(clip, tmp_path / f"x{FORMATS[format].suffix}", opaque, format=format, look=look)
            assert np.abs(luma(made)[0] - (16 + 219 * truth)).max() <= 1.5
    deep = middles(planes(matte_clip(clip, tmp_path / "y", opaque, format="png16", look=look) / "000001.png"))
    assert deep[0, 1] == deep[1, 1] == 1 and deep[3, 1] == 0


def test_the_curves_go_on_above_white_but_for_pq():
    assert to_linear(np.float32([1.0685])) == pytest.approx([((1.0685 + 0.055) / 1.055) ** 2.4], rel=1e-5)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # of STD-B67
    assert to_linear(np.float32([1.05]), 18) == pytest.approx([(np.exp((1.05 - c) / a) + b) / 12 / 0.26496], rel=1e-3)
    assert to_linear(np.float32([1.05]), 16) == to_linear(np.float32([1.0]), 16)
    for transfer in (1, 16, 18):
        assert to_linear(np.float32([-0.07]), transfer) == to_linear(np.float32([0.0]), transfer)


def test_full_range_as_phones_write_it(tmp_path):
    frame, truth = squares("yuv420p", True)
    clip = written(tmp_path / "in.mp4", frame.reformat(format="yuvj420p"), "libx264", options={"qp": "0"})
    assert next(clip.frames()).picture.format.name == "yuvj420p"
    levels, _ = luma(matte_clip(clip, tmp_path / "out.mov", opaque))
    assert np.abs(levels - (16 + 219 * truth)).max() <= 0.26
    made = matte_clip(clip, tmp_path / "x", opaque, format="exr")
    np.testing.assert_allclose(middles(planes(made / "x.1001.exr"))[:, 0], to_linear(truth), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("pixels", "full"), KINDS)
def test_batches_have_the_values_of_the_clip(tmp_path, pixels, full):
    frame, truth = squares(pixels, full)
    frames = read_batch(written(tmp_path / "in.mkv", frame), Span()).frames.numpy()
    assert np.abs(middles(frames[0]) - truth[:, None]).max() <= (1e-4 if frame.format.components[0].bits > 8 else 2e-3)
    assert frames.max() == 1 and frames.min() == 0


@pytest.mark.parametrize("pixels", ["rgb555le", "rgb565le", "pal8"])
def test_few_bits_have_a_white_too(pixels):
    white = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 255, np.uint8), format="rgb24")
    if pixels == "pal8":
        white = av.VideoFrame.from_ndarray(np.zeros((16, 16), np.uint8), format="gray")
        made = av.VideoFrame(16, 16, "pal8")
        made.planes[0].update(bytes(made.planes[0].buffer_size))
        made.planes[1].update(b"\xff" * 1024)
    else:
        made = white.reformat(format=pixels)
    assert (to_deep_rgb(made) == 1).all() and (to_rgb(made) == 255).all()
    assert (plane(to_pixels(made, "yuva444p10le", Colours(1, 1, 1)), 0) == 940).all()


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("pixels", ["yuv444p10le", "yuv444p12le", "yuv444p"])
def test_colours_come_back_from_floats_bit_for_bit(pixels, matrix):
    """Those beyond white and black, and outside RGB, too."""
    made, draw = av.VideoFrame(64, 48, pixels), np.random.default_rng(matrix)
    bits = made.format.components[0].bits
    for index in range(3):
        plane(made, index)[:] = draw.integers(1 << bits - 8, 254 << bits - 8, (48, 64))
    made.colorspace, made.color_range = matrix, LIMITED
    back = to_pixels(from_deep_rgb(torch.from_numpy(to_deep_rgb(made))), pixels, Colours(matrix, matrix, matrix))
    most = 1 if bits == 8 else 0  # the scaler dithers to 8 bits
    for index in range(3):
        assert np.abs(plane(back, index).astype(int) - plane(made, index)).max() <= most


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p10le", "yuva420p", "nv12"])
def test_floats_are_those_of_the_scaler_inside_of_black_and_white(pixels, full):
    """Through whose own matrix to_rgb goes."""
    across, down = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    rgb = (40 + 170 * np.stack([across, down, 1 - across * down], axis=-1)).astype(np.uint8)
    made = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format=pixels, dst_colorspace=1, dst_color_range=FULL if full else LIMITED
    )
    made.colorspace, made.color_range = 1, FULL if full else LIMITED
    assert np.abs(255 * to_deep_rgb(made) - to_rgb(made)).max() <= 1.2
