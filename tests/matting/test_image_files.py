import io
import struct
import zlib
from importlib.util import find_spec

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from birefnet_core import picture_files
from birefnet_core.matting import images
from birefnet_core.matting.images import read
from birefnet_core.picture_files import ORIENTATION_TAG, ImageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
DEEP = np.array([[0, 1, 255, 256], [257, 32768, 65534, 65535]], dtype=np.uint16)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def levels(pixels):
    """float 0..1 -> exact levels of 0..255."""
    scaled = pixels * 255
    torch.testing.assert_close(scaled, scaled.round(), atol=1e-3, rtol=0)
    return scaled.round().numpy().astype(np.uint8)


def cmyk_profile():
    """A small CMYK profile of our own: the coloured inks do nothing, black ink goes from mid grey (L 50) to black."""
    grid = bytes([127, 128, 128, 0, 128, 128]) * 8  # Lab in 8 bits at the 2^4 corners, black ink runs fastest
    ramp = bytes(range(256))
    identity = b"".join(struct.pack(">i", 65536 * value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"desc", description), (b"wtpt", white), (b"A2B0", table)]
    offset, directory, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        directory += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + directory + body


def with_straight_curves(profile):
    """An RGB profile with its curves made straight: of linear light."""
    found = bytearray(profile)
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            found[offset : offset + 12] = b"curv" + bytes(8)
    return bytes(found)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_rgb(tmp_path, suffix):
    picture = read(
        saved(Image.fromarray(RGB), tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    )
    assert picture.name == f"a{suffix}"
    assert picture.pixels.dtype == torch.float32
    assert np.array_equal(levels(picture.pixels), RGB)
    assert picture.alpha is None
    assert picture.icc_profile is None


def test_jpeg(tmp_path):
    picture = read(saved(Image.new("RGB", (16, 8), (250, 120, 10)), tmp_path / "a.jpg", quality=100))
    assert picture.pixels.shape == (8, 16, 3)
    torch.testing.assert_close(picture.pixels[4, 8] * 255, torch.tensor([250.0, 120.0, 10.0]), atol=3, rtol=0)


def test_rgba_keeps_the_colours_under_transparency(tmp_path):
    picture = read(saved(Image.fromarray(RGBA), tmp_path / "a.png"))
    assert np.array_equal(levels(picture.pixels), RGBA[..., :3])
    assert np.array_equal(levels(picture.alpha), RGBA[..., 3])


def test_grey_and_grey_with_alpha(tmp_path):
    grey = read(saved(Image.fromarray(GREY), tmp_path / "l.png"))
    assert np.array_equal(levels(grey.pixels), np.dstack([GREY] * 3))
    assert grey.alpha is None
    both = read(saved(Image.fromarray(RGBA[..., :2].copy(), "LA"), tmp_path / "la.png"))
    assert np.array_equal(levels(both.pixels), np.dstack([RGBA[..., 0]] * 3))
    assert np.array_equal(levels(both.alpha), RGBA[..., 1])


def test_black_and_white(tmp_path):
    bits = Image.fromarray(GREY).convert("1")
    picture = read(saved(bits, tmp_path / "a.png"))
    assert np.array_equal(levels(picture.pixels)[..., 0], np.array(bits) * np.uint8(255))
    assert set(picture.pixels.unique().tolist()) == {0.0, 1.0}


def palette_picture():
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 128, 0, 10, 20, 30])
    return image


PALETTE_COLOURS = np.array([[255, 0, 0], [0, 128, 0], [10, 20, 30]], dtype=np.uint8)[[[0, 1, 2], [2, 1, 0]]]


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp", "a.tif"])
def test_palette(tmp_path, name):
    picture = read(saved(palette_picture(), tmp_path / name))
    assert np.array_equal(levels(picture.pixels), PALETTE_COLOURS)
    assert picture.alpha is None


@pytest.mark.parametrize(
    ("name", "transparency", "expected"),
    [
        ("a.png", 1, [[255, 0, 255], [255, 0, 255]]),
        ("a.gif", 1, [[255, 0, 255], [255, 0, 255]]),
        ("a.png", bytes([10, 128, 255]), [[10, 128, 255], [255, 128, 10]]),
    ],
)
def test_palette_with_transparency(tmp_path, name, transparency, expected):
    picture = read(saved(palette_picture(), tmp_path / name, transparency=transparency))
    assert np.array_equal(levels(picture.alpha), expected)
    opaque = np.array(expected) > 0
    assert np.array_equal(levels(picture.pixels)[opaque], PALETTE_COLOURS[opaque])


def test_a_transparent_colour(tmp_path):
    colours = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    picture = read(saved(Image.fromarray(colours), tmp_path / "a.png", transparency=(4, 5, 6)))
    assert np.array_equal(levels(picture.alpha), [[255, 0]])


def png(rows: list, bits: int, colour_type: int, *, key: list[int], palette: bytes = b"", adam7: bool = False) -> bytes:
    """A PNG as its specification has it; rows: of samples, key: its tRNS chunk's numbers."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def packed(row) -> bytes:
        text = "".join(f"{sample:0{bits}b}" for sample in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        return b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")

    width, height = len(rows[0]) // (3 if colour_type == 2 else 1), len(rows)
    data = b"".join(map(packed, rows))
    if adam7:
        assert (width, height) == (1, 1)  # its first pass is all of it
    transparent = bytes(key) if colour_type == 3 else struct.pack(f">{len(key)}H", *key)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, adam7)),
            chunk(b"PLTE", palette) if palette else b"",
            chunk(b"tRNS", transparent),
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("key", [0, 1])
def test_a_transparent_level_of_grey_of_every_depth(tmp_path, bits, key):
    most = 2**bits - 1
    row = sorted({0, 1, most - 1, most})
    (tmp_path / "a.png").write_bytes(png([row], bits, 0, key=[key]))
    picture = read(tmp_path / "a.png")
    torch.testing.assert_close(picture.pixels[0, :, 1], torch.tensor(row) / most)
    assert picture.alpha[0].tolist() == [float(level != key) for level in row]


@pytest.mark.parametrize("key", [[4, 5, 6], [0, 0, 0]])
def test_a_transparent_colour_of_8_bits(tmp_path, key):
    (tmp_path / "a.png").write_bytes(png([[4, 5, 6, 4, 5, 7, 0, 0, 0]], 8, 2, key=key))
    picture = read(tmp_path / "a.png")
    assert picture.alpha[0].tolist() == [float(colour != key) for colour in ([4, 5, 6], [4, 5, 7], [0, 0, 0])]
    assert levels(picture.pixels)[0].tolist() == [[4, 5, 6], [4, 5, 7], [0, 0, 0]]


def test_a_transparent_colour_of_16_bits(tmp_path):
    """Exactly that colour, not what shares its upper bytes, which are all that Pillow gives."""
    row = [0x1234, 0xABCD, 0x00FF, 0x1234, 0xABCD, 0x00FE, 0x1200, 0xAB00, 0x0000]
    (tmp_path / "a.png").write_bytes(png([row, row], 16, 2, key=row[:3]))
    picture = read(tmp_path / "a.png")
    assert picture.alpha.tolist() == [[0, 1, 1]] * 2
    assert (picture.pixels[1, 0] * 65535).round().tolist() == row[:3]
    (tmp_path / "b.png").write_bytes(png([row[:3]], 16, 2, key=row[:3], adam7=True))
    assert read(tmp_path / "b.png").alpha.tolist() == [[0]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparency_of_palettes_of_every_depth(tmp_path, bits):
    colours = bytes([255, 0, 0, 0, 128, 0])
    (tmp_path / "a.png").write_bytes(png([[0, 1, 1]], bits, 3, key=[40], palette=colours))
    picture = read(tmp_path / "a.png")
    assert (picture.alpha * 255).round().tolist() == [[40, 255, 255]]
    assert levels(picture.pixels)[0].tolist() == [[255, 0, 0], [0, 128, 0], [0, 128, 0]]


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow before 13 does not know such files")
def test_premultiplied_grey_is_made_straight(tmp_path):
    """TIFF's associated alpha; of RGB Pillow does so itself."""
    (tmp_path / "a.tif").write_bytes(tiff_of_pairs([(100, 128), (50, 255), (0, 0)]))
    picture = read(tmp_path / "a.tif")
    assert (picture.alpha * 255).round().tolist() == [[128, 255, 0]]
    assert (picture.pixels[0, :2, 0] * 255).round().tolist() == [199, 50]


def tiff_of_pairs(row: list[tuple[int, int]]) -> bytes:
    """A TIFF of one row of grey with premultiplied alpha, 8 bits."""
    tags = [(256, 4, 1, len(row)), (257, 4, 1, 1), (258, 3, 2, 8 | 8 << 16), (259, 4, 1, 1), (262, 4, 1, 1)]
    tags += [(273, 4, 1, 0), (277, 4, 1, 2), (278, 4, 1, 1), (279, 4, 1, 2 * len(row)), (338, 3, 1, 1)]
    begin = 8 + 2 + 12 * len(tags) + 4
    body = b"".join(
        struct.pack("<HHII", tag, kind, count, begin if tag == 273 else value) for tag, kind, count, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4) + bytes(sum(row, ()))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    picture = read(saved(Image.fromarray(DEEP), tmp_path / name))
    assert picture.pixels.shape == (2, 4, 3)
    for channel in picture.pixels.unbind(-1):
        assert np.array_equal((channel.double() * 65535).round().numpy(), DEEP)


def test_big_endian_sixteen_bits(tmp_path):
    picture = read(saved(Image.fromarray(DEEP.astype(">u2")), tmp_path / "a.tif"))
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "I;16B"
    assert np.array_equal((picture.pixels[..., 0].double() * 65535).round().numpy(), DEEP)


def test_sixteen_bits_with_a_transparent_level(tmp_path):
    picture = read(saved(Image.fromarray(DEEP), tmp_path / "a.png", transparency=256))
    assert picture.alpha.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_integers_of_32_bits_and_floating_point(tmp_path):
    integers = read(saved(Image.fromarray(DEEP.astype(np.int32)), tmp_path / "i.tif"))
    assert np.array_equal((integers.pixels[..., 1].double() * 65535).round().numpy(), DEEP)
    floats = read(saved(Image.fromarray(np.array([[-0.25, 0.5, 1.25]], dtype=np.float32)), tmp_path / "f.tif"))
    assert floats.pixels[0, :, 2].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 2**30]], dtype=np.int32),
        np.array([[-5, 3]], dtype=np.int32),
        np.array([[0, 255.0]], dtype=np.float32),
        np.array([[0, np.nan]], dtype=np.float32),
    ],
)
def test_grey_of_unknown_range_is_refused(tmp_path, values):
    with pytest.raises(ImageError, match=r"deep\.tif cannot be read: its grey values are neither"):
        read(saved(Image.fromarray(values), tmp_path / "deep.tif"))


def test_cmyk_without_profile(tmp_path):
    picture = read(saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), tmp_path / "a.tif"))
    assert levels(picture.pixels)[0, 0].tolist() == [255, 0, 0]
    jpeg = read(saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), tmp_path / "a.jpg", quality=100))
    torch.testing.assert_close(jpeg.pixels[8, 8], torch.tensor([0.0, 1.0, 1.0]), atol=0.02, rtol=0)


def test_cmyk_goes_through_its_profile(tmp_path):
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    picture = read(saved(red, tmp_path / "a.jpg", icc_profile=cmyk_profile(), quality=100))
    torch.testing.assert_close(picture.pixels[8, 8] * 255, torch.full((3,), 119.0), atol=3, rtol=0)  # L 50 is 119
    assert picture.icc_profile is None


@pytest.mark.parametrize("foreign", [False, True])
def test_cmyk_with_a_wrong_profile_is_as_without(tmp_path, srgb_profile, foreign):
    profile = srgb_profile if foreign else b"no profile at all" * 20
    picture = read(saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), tmp_path / "a.tif", icc_profile=profile))
    assert levels(picture.pixels)[0, 0].tolist() == [255, 0, 0]
    assert picture.icc_profile is None


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_rgb_profile_is_kept(tmp_path, name, srgb_profile):
    picture = read(saved(Image.fromarray(RGB), tmp_path / name, icc_profile=srgb_profile))
    assert picture.icc_profile == srgb_profile


def test_a_profile_that_does_not_fit_rgb_is_dropped(tmp_path, srgb_profile):
    grey_profile = srgb_profile[:16] + b"GRAY" + srgb_profile[20:]
    assert read(saved(Image.fromarray(GREY), tmp_path / "a.png", icc_profile=grey_profile)).icc_profile is None


def grey_profile(curve: bytes, space: bytes = b"XYZ ") -> bytes:
    """An ICC profile of grey with this curve, in the connection space."""
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"desc", description), (b"wtpt", white), (b"kTRC", curve)]
    offset, directory, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags:
        directory += name + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", b"GRAY", space)
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + directory + body


def gamma_curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, int(gamma * 256))


def parameters(kind: int, *numbers: float) -> bytes:
    return (
        b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", kind, 0, *(round(65536 * number) for number in numbers))
    )


GREY_CURVES = [
    gamma_curve(1.8),
    gamma_curve(2.2),
    b"curv" + bytes(4) + struct.pack(">I", 0),
    b"curv" + bytes(4) + struct.pack(">I5H", 5, 0, 3000, 14000, 34000, 65535),
    parameters(0, 2.4),
    parameters(1, 2.0, 1.1, -0.1),
    parameters(2, 2.0, 0.9, 0.05, 0.04),
    parameters(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    parameters(4, 2.2, 0.9, 0.1, 0.1, 0.05, 0.0, 0.0),
]


@pytest.mark.parametrize("space", [b"XYZ ", b"Lab "])
@pytest.mark.parametrize("curve", range(len(GREY_CURVES)))
def test_grey_goes_through_its_profile(tmp_path, curve, space):
    profile = grey_profile(GREY_CURVES[curve], space)
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    picture = read(saved(ramp, tmp_path / "a.png", icc_profile=profile))
    expected = ImageCms.profileToProfile(
        ramp,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.NOOPTIMIZE,  # else it is 10 levels off in the dark
    )
    assert np.abs(picture.pixels.numpy() * 255 - np.asarray(expected)).max() < 0.51
    assert picture.icc_profile is None


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_grey_of_gamma_1_8(tmp_path, name):
    profile = grey_profile(gamma_curve(1.8))
    picture = read(saved(Image.new("L", (16, 16), 128), tmp_path / name, icc_profile=profile))
    assert (picture.pixels * 255).round().unique().tolist() == [147]


def test_grey_with_alpha_and_of_16_bits_goes_through_its_profile_too(tmp_path):
    profile = grey_profile(gamma_curve(1.8))
    both = read(saved(Image.new("LA", (4, 4), (128, 70)), tmp_path / "la.png", icc_profile=profile))
    assert (both.pixels[0, 0] * 255).round().tolist() == [147] * 3
    assert (both.alpha * 255).round().unique().tolist() == [70]
    for name in ("a.png", "a.tif"):
        deep = read(saved(Image.fromarray(DEEP), tmp_path / name, icc_profile=profile)).pixels[..., 1]
        light = (DEEP / 65535) ** (int(1.8 * 256) / 256)
        expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        assert np.abs(deep.numpy() - expected).max() < 1e-6


@pytest.mark.parametrize(
    "damage", [b"curv", b"para\0\0\0\0\0\7", b"curv\0\0\0\0\xff\xff\xff\xff", b"nothing at all", b""]
)
def test_a_damaged_grey_profile_is_as_none(tmp_path, damage):
    picture = read(saved(Image.fromarray(GREY), tmp_path / "a.png", icc_profile=grey_profile(damage)))
    assert np.array_equal(levels(picture.pixels)[..., 0], GREY)
    assert picture.icc_profile is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, suffix):
    upright = np.kron(np.arange(6).reshape(2, 3) * 40, np.ones((16, 16))).astype(np.uint8)
    # What a camera stores so that this orientation shows `upright`: row and column 0 lie where EXIF 2.3 says.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright[::-1, ::-1].T,
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.dstack([stored] * 3)).save(
        path, exif=exif, **({} if suffix in (".png", ".tif") else {"quality": 95})
    )
    picture = read(path)
    assert picture.pixels.shape == (32, 48, 3)
    found = picture.pixels[8::16, 8::16, 0] * 255
    torch.testing.assert_close(found, torch.arange(6.0).view(2, 3) * 40, atol=4, rtol=0)


def test_exif_orientation_of_sixteen_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read(saved(Image.fromarray(DEEP), tmp_path / "a.png", exif=exif))
    assert np.array_equal((picture.pixels[..., 0].double() * 65535).round().numpy(), np.rot90(DEEP, -1))


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_orientation_of_every_kind_of_tiff(tmp_path, mode, orientation):
    """From a file's name Pillow would map the pixels of an uncompressed TIFF, and lose their places."""
    lying = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGBA).convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    plain, turned = (read(saved(lying, tmp_path / f"{len(more)}.tif", **more)) for more in ({}, {"exif": exif}))
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    assert torch.equal(turned.pixels, plain.pixels.rot90(turns))


def test_tiffs_of_12_bits_and_with_white_as_zero(tmp_path):
    twelve = tiff([0, 1, 2048, 4095], bits=12)
    (tmp_path / "twelve.tif").write_bytes(twelve)
    assert torch.equal(read(tmp_path / "twelve.tif").pixels[0, :, 0], torch.tensor([0, 1, 2048, 4095]) / 4095)
    (tmp_path / "white.tif").write_bytes(tiff([0, 1, 65535], bits=16, photometric=0))
    assert torch.equal(read(tmp_path / "white.tif").pixels[0, :, 0], torch.tensor([65535, 65534, 0]) / 65535)


def tiff(row: list[int], bits: int, photometric: int = 1) -> bytes:
    """A TIFF of one row of grey pixels."""
    if bits == 12:
        pairs = zip(row[::2], row[1::2])
        data = b"".join((first << 12 | second).to_bytes(3, "big") for first, second in pairs)
    else:
        data = struct.pack(f"<{len(row)}H", *row)
    entries = [(256, len(row)), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1), (278, 1)]
    entries.append((279, len(data)))
    begin = 8 + 2 + 12 * len(entries) + 4
    body = b"".join(struct.pack("<HHII", tag, 4, 1, begin if tag == 273 else value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + data


def test_damaged_exif_does_not_spoil_the_picture(tmp_path):
    path = saved(Image.new("RGB", (16, 8), "red"), tmp_path / "a.jpg", exif=b"Exif\0\0MM not really")
    assert read(path).pixels.shape == (8, 16, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_first_frame_of_an_animation(tmp_path, name):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if name == "a.webp" else {}
    picture = read(saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:], **options))
    assert levels(picture.pixels)[0, 0].tolist() == [255, 0, 0]


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "notes.png").write_text("these are words")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "vector.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    for name, message in {
        "missing.png": "missing.png does not exist",
        ".": "is a folder",
        "notes.png": "notes.png is not a picture we can read",
        "empty.png": "empty.png is not a picture we can read",
        "vector.eps": "vector.eps is not a picture we can read",
    }.items():
        with pytest.raises(ImageError, match=message) as raised:
            read(tmp_path / name)
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="pillow-heif is installed")
@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_what_to_install_for_heic_is_said(tmp_path, brand):
    path = tmp_path / "a.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + bytes(99))
    with pytest.raises(ImageError, match=r"a\.heic is a HEIC picture: .*install pillow-heif"):
        read(path)
    assert ".heic" not in picture_files.READ_SUFFIXES


def test_heic(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture = read(saved(Image.new("RGB", (64, 48), (200, 100, 50)), tmp_path / "a.heic"))
    assert picture.pixels.shape == (48, 64, 3)
    torch.testing.assert_close(picture.pixels[24, 32] * 255, torch.tensor([200.0, 100, 50]), atol=4, rtol=0)
    assert ".heic" in picture_files.READ_SUFFIXES


@pytest.mark.skipif("AVIF" in picture_files.MISSING, reason="no reader of AVIF is installed")
def test_avif(tmp_path):
    picture = read(saved(Image.new("RGBA", (64, 48), (200, 100, 50, 128)), tmp_path / "a.avif", quality=100))
    torch.testing.assert_close(picture.pixels[24, 32] * 255, torch.tensor([200.0, 100, 50]), atol=4, rtol=0)
    torch.testing.assert_close(picture.alpha[24, 32] * 255, torch.tensor(128.0), atol=2, rtol=0)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif"])
def test_truncated_files(tmp_path, suffix):
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = saved(noise, tmp_path / f"whole{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=f"cut{suffix} "):
        read(cut)


def test_pictures_beyond_pillows_limit_are_read_as_far_as_memory_holds_them(tmp_path, monkeypatch):
    path = saved(Image.fromarray(RGB), tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(picture_files, "free_memory", lambda: None)
    assert np.array_equal(levels(read(path).pixels), RGB)
    monkeypatch.setattr(picture_files, "free_memory", lambda: 35 * 60)
    assert np.array_equal(levels(read(path).pixels), RGB)
    monkeypatch.setattr(picture_files, "free_memory", lambda: 35 * 60 - 1)
    with pytest.raises(ImageError, match=r"large\.png cannot be read: 7 x 5 pixels take about .* GiB are free"):
        read(path)
    monkeypatch.undo()
    monkeypatch.setattr(picture_files, "free_memory", lambda: 0)  # within Pillow's limit nobody asks
    assert np.array_equal(levels(read(path).pixels), RGB)


@pytest.mark.filterwarnings("error")
def test_two_hundred_megapixels(tmp_path):
    path = saved(Image.new("1", (20000, 10000), 1), tmp_path / "large.png")
    with picture_files.opened(path) as image:
        assert image.size == (20000, 10000)


def test_broken_text_chunks_are_an_image_error(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    with pytest.raises(ImageError, match=r"a\.png cannot be read"):
        read(saved(Image.fromarray(RGB), tmp_path / "a.png", pnginfo=text))


# Writing


ALPHA = torch.linspace(0, 1, 35).view(5, 7)
PIXELS = torch.from_numpy(RGB).float() / 255


def test_alpha_of_8_and_16_bits(tmp_path):
    images.write_alpha(tmp_path / "8.png", ALPHA)
    images.write_alpha(tmp_path / "16.png", ALPHA, depth=16)
    with Image.open(tmp_path / "8.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image), (ALPHA * 255).round().numpy())
    with Image.open(tmp_path / "16.png") as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.array(image), (ALPHA * 65535).round().numpy())
    torch.testing.assert_close(read(tmp_path / "16.png").pixels[..., 0], ALPHA, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="depth must be 8 or 16, not 12"):
        images.write_alpha(tmp_path / "12.png", ALPHA, depth=12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_written_as_it_is(tmp_path, dtype):
    images.write_alpha(tmp_path / "half.png", torch.tensor([[0, 0.5, 1]], dtype=dtype), depth=16)
    assert np.asarray(Image.open(tmp_path / "half.png")).tolist() == [[0, 32768, 65535]]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
def test_cutout_keeps_colours_and_profile(tmp_path, suffix, srgb_profile):
    path = tmp_path / f"a{suffix}"
    images.write_cutout(path, PIXELS, ALPHA, icc_profile=srgb_profile)
    picture = read(path)
    assert np.array_equal(levels(picture.pixels), RGB)  # also where alpha is 0
    assert np.array_equal(levels(picture.alpha), (ALPHA * 255).round().numpy())
    assert picture.icc_profile == srgb_profile


@pytest.mark.parametrize("colour", ["#00ff00", "lime", "#0f0"])
def test_composite_on_a_colour(tmp_path, colour, srgb_profile):
    images.write_composite(tmp_path / "a.png", PIXELS, ALPHA, colour, icc_profile=srgb_profile)
    picture = read(tmp_path / "a.png")
    green = torch.tensor([0.0, 1.0, 0.0])
    expected = PIXELS * ALPHA[..., None] + green * (1 - ALPHA[..., None])
    torch.testing.assert_close(picture.pixels, expected, atol=0.51 / 255, rtol=0)
    assert picture.alpha is None
    assert picture.icc_profile == srgb_profile


def test_composite_on_a_picture_which_covers_it_black_where_it_is_transparent(tmp_path):
    behind = Image.new("RGBA", (30, 10), (0, 0, 0, 0))  # of 30 x 10 the middle 14 x 10 covers 7 x 5
    behind.paste((200, 40, 40, 255), (8, 0, 15, 10))
    background = read(saved(behind, tmp_path / "back.png"))
    images.write_composite(tmp_path / "a.png", PIXELS, torch.zeros(5, 7), background)
    shown = levels(read(tmp_path / "a.png").pixels)
    assert shown.shape == (5, 7, 3) and (shown[:, :3] == (200, 40, 40)).all() and not shown[:, 4:].any()
    images.write_composite(tmp_path / "b.png", PIXELS, torch.ones(5, 7), background)
    assert np.array_equal(levels(read(tmp_path / "b.png").pixels), RGB)


def test_a_background_of_another_profile_looks_as_it_did(tmp_path, srgb_profile):
    """A picture in linear light goes on one that says nothing, which is sRGB, and the other way round."""
    linear = with_straight_curves(srgb_profile)
    grey = {None: 188, linear: 128, srgb_profile: 188}  # of half the light
    for own in grey:
        for behind in grey:
            options = {} if behind is None else {"icc_profile": behind}
            level = grey[behind]
            background = read(saved(Image.new("RGB", (7, 5), (level,) * 3), tmp_path / "back.png", **options))
            images.write_composite(
                tmp_path / "a.png", PIXELS, torch.zeros(5, 7), background, icc_profile=own, overwrite=True
            )
            found = read(tmp_path / "a.png")
            assert found.icc_profile == own
            assert abs(255 * found.pixels - grey[own]).max() <= 2


@pytest.mark.parametrize(
    ("suffix", "format"), [(".jpg", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP"), (".png", "PNG")]
)
def test_composite_format_by_suffix(tmp_path, suffix, format):
    path = tmp_path / f"a{suffix}"
    images.write_composite(path, torch.full((16, 16, 3), 0.5), torch.zeros(16, 16), "#204060")
    with Image.open(path) as image:
        assert image.format == format
        assert np.abs(np.array(image).astype(int) - (0x20, 0x40, 0x60)).max() <= 3


def test_unknown_colour_and_unknown_suffix(tmp_path):
    with pytest.raises(ValueError, match="greenish"):
        images.write_composite(tmp_path / "a.png", PIXELS, ALPHA, "greenish")
    with pytest.raises(ValueError, match=r"a\.jpg: a cutout is written as \.png or \.webp"):
        images.write_cutout(tmp_path / "a.jpg", PIXELS, ALPHA)
    with pytest.raises(ValueError, match=r"a: an alpha is written as \.png"):
        images.write_alpha(tmp_path / "a", ALPHA)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"a\.png exists"):
        images.write_alpha(path, ALPHA)
    assert path.read_bytes() == b"precious"
    images.write_alpha(path, ALPHA, overwrite=True)
    assert read(path).pixels.shape == (5, 7, 3)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"b\.png is a folder"):
        images.write_alpha(tmp_path / "b.png", ALPHA, overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_an_encoder_that_fails_leaves_nothing(tmp_path):
    too_wide = torch.zeros(1, 20000, 3)  # WebP ends at 16383 pixels a side
    with pytest.raises((ValueError, OSError)):
        images.write_composite(tmp_path / "a.webp", too_wide, too_wide[..., 0], "white")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save = Image.Image.save

    def while_others_write(*arguments, **options):
        save(*arguments, **options)
        path.write_bytes(b"theirs")

    monkeypatch.setattr(Image.Image, "save", while_others_write)
    with pytest.raises(FileExistsError):
        images.write_alpha(path, ALPHA)
    assert path.read_bytes() == b"theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
