"""Cut-outs as compositors take them: 16 bits, TIFF, EXR in linear light, premultiplied, trimmed, square."""

import io
import shutil
import struct
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from birefnet_core.matting import deep, images
from birefnet_core.matting.coding import Coding
from birefnet_core.matting.framing import framed
from birefnet_core.matting.linear import to_linear
from birefnet_core.matting.metadata import Metadata

SIZE = (40, 24)  # width, height


def decoded(path):
    """A picture as FFmpeg reads it: RGBA float32 [H, W, 4], and its pixel format."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    if frame.format.name.startswith("gbrap"):
        kind = np.float16 if "f16" in frame.format.name else np.float32
        planes = [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : frame.width] for plane in frame.planes]
        return np.stack([planes[2], planes[0], planes[1], planes[3]], axis=-1).astype(np.float32), frame.format.name
    return frame.reformat(format="rgba64le").to_ndarray().astype(np.float32) / 65535, frame.format.name


@pytest.fixture
def cutout():
    """Colours and alpha with more levels than 8 bits have."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(SIZE[1], SIZE[0], 3, generator=generator)
    alpha = torch.linspace(0, 1, SIZE[0]).expand(SIZE[1], SIZE[0])
    return pixels, alpha


def metadata(srgb=b""):
    exif = Image.Exif()
    exif[271] = "Maker"
    exif[0x8769], exif[0x8825] = {0x9003: "2026:01:02 03:04:05"}, {1: "N"}
    return Metadata(dpi=(300.0, 240.0), exif=exif.tobytes(), xmp=b"<x:xmpmeta>told</x:xmpmeta>")


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
def test_16_bits_are_kept_with_all_the_file_says(tmp_path, cutout, srgb_profile, suffix):
    pixels, alpha = cutout
    path = tmp_path / f"a.{suffix}"
    images.write_cutout(path, pixels, alpha, depth=16, icc_profile=srgb_profile, metadata=metadata(), position=(7, 5))
    found, name = decoded(path)
    assert name.startswith("rgba64")
    np.testing.assert_allclose(found[..., :3], pixels.numpy(), atol=0.6 / 65535)
    np.testing.assert_allclose(found[..., 3], alpha.numpy(), atol=0.6 / 65535)
    with Image.open(path) as image:
        image.load()
        assert image.size == SIZE and image.info["icc_profile"] == srgb_profile
        assert image.info["dpi"] == pytest.approx((300, 240), abs=0.1)
        exif = image.getexif()
        assert exif[271] == "Maker" and exif.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
        assert exif.get_ifd(0x8825)[1] == "N"
        assert b"told" in image.info["xmp"]
        if suffix == "png":
            assert b"oFFs" + b"\0\0\0\x07\0\0\0\x05\0" in path.read_bytes()
        else:
            assert [float(image.tag_v2[tag]) for tag in (286, 287)] == pytest.approx([7 / 300, 5 / 240], rel=1e-4)
    again = images.read(path)  # our own reading keeps them too
    torch.testing.assert_close(again.pixels, pixels, atol=0.6 / 65535, rtol=0)
    torch.testing.assert_close(again.alpha, alpha, atol=0.6 / 65535, rtol=0)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_colour_of_16_bits_is_read_as_such_and_upright(tmp_path, cutout, orientation, order):
    """By FFmpeg's encoders, of both byte orders, with an orientation added by Pillow's directory."""
    pixels, _ = cutout
    values = (pixels.numpy() * 65535).round().astype(np.uint16)
    raw = values.astype("<u2" if order == "II" else ">u2").tobytes()
    end = "<" if order == "II" else ">"
    tags = [(256, 3, SIZE[0]), (257, 3, SIZE[1]), (258, 3, None), (259, 3, 1), (262, 3, 2), (273, 4, 200)]
    tags += [(274, 3, orientation), (277, 3, 3), (278, 3, SIZE[1]), (279, 4, len(raw))]
    directory = np.array([len(tags)], f"{end}u2").tobytes()
    for tag, kind, value in tags:
        directory += np.array([tag, kind], f"{end}u2").tobytes()
        directory += np.array([3 if value is None else 1], f"{end}u4").tobytes()
        if value is None:
            directory += np.array([190], f"{end}u4").tobytes()  # where the three depths stand
        else:
            directory += np.array([value], f"{end}u{2 if kind == 3 else 4}").tobytes().ljust(4, b"\0")
    data = order.encode() + np.array([42], f"{end}u2").tobytes() + np.array([8], f"{end}u4").tobytes() + directory
    data = data.ljust(190, b"\0") + np.array([16, 16, 16], f"{end}u2").tobytes()
    (tmp_path / "a.tif").write_bytes(data.ljust(200, b"\0") + raw)
    found = images.read(tmp_path / "a.tif")
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    np.testing.assert_allclose(found.pixels.numpy(), np.rot90(values, turns) / 65535, atol=1e-6)


def test_exr_is_linear_and_premultiplied(tmp_path, cutout):
    pixels, alpha = cutout
    images.write_cutout(tmp_path / "a.exr", pixels, alpha)
    images.write_cutout(tmp_path / "b.exr", pixels, alpha, alphas="straight")
    light = to_linear(pixels.numpy())
    for name, expected in (("a", light * alpha.numpy()[..., None]), ("b", light)):
        found, format = decoded(tmp_path / f"{name}.exr")
        assert "f16" in format
        np.testing.assert_allclose(found[..., :3], expected, atol=3e-4)
        np.testing.assert_allclose(found[..., 3], alpha.numpy(), atol=3e-4)


@pytest.mark.parametrize("height", [7, 16, 40])
def test_exr_lies_where_it_was_in_the_whole_picture(tmp_path, height):
    """As FFmpeg reads it: the display window, with the data window in its place."""
    torch.manual_seed(0)
    pixels, alpha = torch.rand(height, 9, 3), torch.rand(height, 9) / 2 + 0.5
    about = {"alphas": "straight"}
    images.write_cutout(tmp_path / "a.exr", pixels, alpha, **about)
    images.write_cutout(tmp_path / "b.exr", pixels, alpha, position=(5, 3), whole=(20, 50), **about)
    told = Metadata(dpi=(300.0, 300.0))
    images.write_cutout(tmp_path / "c.exr", pixels, alpha, position=(5, 3), whole=(20, 50), metadata=told, **about)
    data = (tmp_path / "c.exr").read_bytes()
    assert b"xDensity\0float\0" + struct.pack("<if", 4, 300) in data
    np.testing.assert_array_equal(decoded(tmp_path / "c.exr")[0], decoded(tmp_path / "b.exr")[0])
    alone, placed = (decoded(tmp_path / f"{name}.exr")[0] for name in "ab")
    assert placed.shape[:2] == (50, 20)
    np.testing.assert_array_equal(placed[3 : 3 + height, 5:14], alone)
    placed[3 : 3 + height, 5:14] = 0
    assert not placed.any()


def test_a_profile_is_gone_into_the_colours_of_exr(tmp_path, cutout, srgb_profile):
    pixels, alpha = cutout
    images.write_cutout(tmp_path / "a.exr", pixels, alpha, alphas="straight", icc_profile=srgb_profile)
    found, _ = decoded(tmp_path / "a.exr")
    np.testing.assert_allclose(found[..., :3], to_linear(pixels.numpy()), atol=1e-3)


def rgb_profile(primaries: list[list[float]], gamma: float) -> bytes:
    """A profile of three curves and a matrix: rows of XYZ for red, green and blue."""
    content = {
        b"rgb"[index : index + 1] + b"XYZ": struct.pack(">4sI3i", b"XYZ ", 0, *(round(v * 65536) for v in row))
        for index, row in enumerate(primaries)
    }
    content |= {
        channel + b"TRC": struct.pack(">4sIIHH", b"curv", 0, 1, round(gamma * 256), 0) for channel in (b"r", b"g", b"b")
    }
    table, body, start = b"", b"", 132 + 12 * len(content)
    for name, value in content.items():
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s12s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    return (
        head.ljust(68, b"\0")
        + struct.pack(">3i", 63190, 65536, 54061)
        + bytes(48)
        + struct.pack(">I", len(content))
        + table
        + body
    )


# ROMM RGB (ProPhoto), ISO 22028-2: XYZ of its primaries at D50.
PROPHOTO = [[0.79767, 0.28804, 0.0], [0.13519, 0.71188, 0.0], [0.03134, 0.00009, 0.82491]]


def test_a_wide_profile_reaches_exr_with_all_bits_and_beyond_srgb(tmp_path):
    """Light is as lcms has it where sRGB has the colour; finer than 8 bits; and what sRGB has not is not cut off."""
    profile = rgb_profile(PROPHOTO, 1.8)
    grey = torch.linspace(0.2, 0.21, 64)[None, :, None].expand(4, -1, 3)
    images.write_cutout(tmp_path / "a.exr", grey, torch.ones(4, 64), icc_profile=profile)
    found, _ = decoded(tmp_path / "a.exr")
    np.testing.assert_allclose(found[..., :3], grey.numpy() ** 1.8, rtol=3e-3)
    assert len(np.unique(found[0, :, 1])) > 40
    muted = torch.tensor([[[0.5, 0.4, 0.3], [0.3, 0.4, 0.35]]])
    images.write_cutout(tmp_path / "b.exr", muted, torch.ones(1, 2), icc_profile=profile)
    eight = Image.fromarray((255 * muted).round().byte().numpy())
    srgb = ImageCms.createProfile("sRGB")
    by_lcms = ImageCms.profileToProfile(eight, ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb, renderingIntent=1)
    np.testing.assert_allclose(decoded(tmp_path / "b.exr")[0][..., :3], to_linear(np.asarray(by_lcms) / 255), atol=4e-3)
    images.write_cutout(tmp_path / "c.exr", torch.tensor([[[0.0, 1.0, 0.0]]]), torch.ones(1, 1), icc_profile=profile)
    red, green, _ = decoded(tmp_path / "c.exr")[0][0, 0, :3]
    assert red < -0.2 and green > 1.0


@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_says_whether_it_is_premultiplied(tmp_path, cutout, depth):
    pixels, alpha = cutout
    for name, alphas, tag in (("a", None, 2), ("b", "premultiplied", 1)):
        images.write_cutout(tmp_path / f"{name}.tif", pixels, alpha, depth=depth, alphas=alphas)
        with Image.open(tmp_path / f"{name}.tif") as image:
            assert image.tag_v2[338] == (tag,) and image.tag_v2[258] == (depth,) * 4
    dark = decoded(tmp_path / "b.tif")[0]
    np.testing.assert_allclose(dark[..., :3], (pixels * alpha[..., None]).numpy(), atol=1.5 / (2**depth - 1))


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("a.webp", {"depth": 16}, "has 8 bits"),
        ("a.png", {"alphas": "premultiplied"}, "in .png it is straight"),
        ("a.bmp", {}, "is written as"),
    ],
)
def test_what_a_format_does_not_hold_is_refused(tmp_path, cutout, name, options, said):
    with pytest.raises(ValueError, match=said):
        images.write_cutout(tmp_path / name, *cutout, **options)
    assert not list(tmp_path.iterdir())


def test_trimmed_to_what_is_seen_and_padded_to_a_square():
    pixels, alpha = torch.rand(50, 80, 3), torch.zeros(50, 80)
    alpha[10:20, 30:60] = 0.5
    alpha[9, 40] = 0.4 / 255  # not seen
    cut = framed(pixels, alpha, trim=True)
    assert cut.position == (30, 10) and cut.alpha.shape == (10, 30) and torch.equal(cut.pixels, pixels[10:20, 30:60])
    square = framed(pixels, alpha, trim=True, square=0.1)
    assert square.alpha.shape == (36, 36) and square.position == (30 - 3, 10 - 13)
    assert torch.equal(square.alpha[13:23, 3:33], alpha[10:20, 30:60]) and square.alpha.sum() == cut.alpha.sum()
    whole = framed(pixels, alpha, square=0.0)
    assert whole.alpha.shape == (80, 80) and whole.position == (0, -15)
    with pytest.raises(ValueError, match="no subject"):
        framed(pixels, torch.zeros(50, 80), trim=True)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no FFmpeg command line to read with")
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.exr"])
def test_ffmpeg_reads_them(tmp_path, cutout, name):
    images.write_cutout(tmp_path / name, *cutout, depth=16)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / name, "-pix_fmt", "gbrapf32le", "-f", "rawvideo", "-"]
    run = subprocess.run(command, capture_output=True)
    alpha = np.frombuffer(run.stdout, np.float32).reshape(4, SIZE[1], SIZE[0])[3]
    assert not run.stderr
    np.testing.assert_allclose(alpha, cutout[1].numpy(), atol=1e-3)


@pytest.fixture
def coded(tmp_path, cutout):
    """A PNG of 16 bits that says what its colours are, by FFmpeg's encoder; path, Coding and values [H, W, 3] 0..1."""

    def make(primaries, transfer):
        values = (cutout[0].numpy() * 65535).round().astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(values, format="rgb48le").reformat(format="rgb48be")
        context = av.CodecContext.create("png", "w")
        context.width, context.height, context.pix_fmt, context.time_base = *SIZE, "rgb48be", Fraction(1, 25)
        path = tmp_path / "coded.png"
        path.write_bytes(b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]))
        deep.put_chunk(path, b"cICP", bytes((primaries, transfer, 0, 1)))
        return path, Coding(primaries, transfer), values / 65535

    return make


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_says_again_what_its_colours_are(tmp_path, coded, cutout, depth):
    path, coding, values = coded(9, 16)
    picture = images.read(path)
    assert picture.coding == coding
    np.testing.assert_allclose(picture.pixels.numpy(), values, atol=1e-6)
    out = tmp_path / "a.png"
    images.write_cutout(out, picture.pixels, cutout[1], depth=depth, coding=picture.coding)
    images.write_composite(tmp_path / "b.png", picture.pixels, cutout[1], "white", coding=picture.coding)
    for written in (out, tmp_path / "b.png"):
        again = images.read(written)
        assert again.coding == coding and b"cICP\x09\x10\x00\x01" in written.read_bytes()[:60]
    with Image.open(out) as image:
        assert image.mode == "RGBA"
    assert np.abs(images.read(out).pixels.numpy() - values).max() <= 0.51 / (2**depth - 1)


@pytest.mark.parametrize("primaries, transfer", [(9, 16), (12, 13), (1, 8), (9, 18)])
def test_exr_has_the_light_of_the_colours_that_a_png_names(tmp_path, coded, primaries, transfer):
    path, coding, values = coded(primaries, transfer)
    images.write_cutout(tmp_path / "a.exr", images.read(path).pixels, torch.ones(SIZE[::-1]), coding=coding)
    # Of ITU-R BT.2087 and, for Display P3, of its specification: linear light of these primaries to that of sRGB's.
    to_srgb = {
        1: np.eye(3),
        9: [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
        12: [[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]],
    }[primaries]
    light = to_linear(values, transfer) @ np.array(to_srgb).T
    np.testing.assert_allclose(decoded(tmp_path / "a.exr")[0][..., :3], light, rtol=2e-3, atol=5e-4 * light.max())


def test_other_pictures_say_nothing_of_the_kind(tmp_path, cutout):
    for name in ("a.png", "a.webp"):
        images.write_cutout(tmp_path / name, *cutout)
        assert images.read(tmp_path / name).coding is None
    images.write_cutout(tmp_path / "narrow.png", *cutout)
    deep.put_chunk(tmp_path / "narrow.png", b"cICP", bytes((9, 16, 0, 0)))
    assert images.read(tmp_path / "narrow.png").coding is None
