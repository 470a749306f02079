"""Pictures of 16 bits as other programs write them: every layout of TIFF, grey with alpha, a transparent colour."""

import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import PIL
import pytest
from PIL import Image

from birefnet_core.matting import images
from birefnet_core.picture_files import ImageError

HEIGHT, WIDTH, TILE = 19, 23, 16
UNSPECIFIED, PREMULTIPLIED, STRAIGHT = 0, 1, 2  # of ExtraSamples


def write_tiff(
    path, values, *, order="<", layers=False, tiles=False, packed=False, extra=None, photometric=2, kind=None
):
    """values: uint16 [H, W, C]."""
    channels = values.shape[2]
    parts = [values[..., index : index + 1] for index in range(channels)] if layers else [values]
    if tiles:
        parts = [np.pad(part, ((0, -HEIGHT % TILE), (0, -WIDTH % TILE), (0, 0))) for part in parts]
        corners = [(y, x) for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)]
        parts = [part[y : y + TILE, x : x + TILE] for part in parts for y, x in corners]
    chunks = [part.astype(f"{order}u2").tobytes() for part in parts]
    chunks = [zlib.compress(chunk) for chunk in chunks] if packed else chunks
    places = [8 + sum(map(len, chunks[:index])) for index in range(len(chunks))]
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [16] * channels, 259: [8 if packed else 1], 262: [photometric]}
    tags |= {277: [channels], 284: [2 if layers else 1]}
    tags |= {322: [TILE], 323: [TILE], 324: places, 325: list(map(len, chunks))} if tiles else {}
    tags |= {} if tiles else {273: places, 278: [HEIGHT], 279: list(map(len, chunks))}
    tags |= {} if extra is None else {338: [extra]}
    tags |= {} if kind is None else {339: [kind] * channels}
    body = b"".join(chunks)
    body += b"\0" * (len(body) % 2)
    directory, beyond = struct.pack(f"{order}H", len(tags)), b""
    after = 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        size = "I" if tag in (273, 279, 324, 325) else "H"
        data = struct.pack(f"{order}{len(numbers)}{size}", *numbers)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", after + len(beyond))
        beyond += data if len(data) > 4 else b""
        directory += struct.pack(f"{order}HHI", tag, 4 if size == "I" else 3, len(numbers)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body))
    path.write_bytes(head + body + directory + b"\0\0\0\0" + beyond)


def write_png(path, values, colour_type, *chunks):
    """values: uint16 [H, W, C]."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    made = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in made))


BEFORE_12 = int(PIL.__version__.split(".")[0]) < 12


def noise(channels):
    return np.random.default_rng(channels).integers(0, 65536, (HEIGHT, WIDTH, channels)).astype(np.uint16)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("layout", [{}, {"tiles": True}, {"packed": True}, {"layers": True},
                                    {"layers": True, "tiles": True}, {"packed": True, "tiles": True}])  # fmt: skip
@pytest.mark.parametrize(("channels", "extra"), [(3, None), (4, STRAIGHT), (4, UNSPECIFIED)])
def test_colours_of_every_layout_keep_16_bits(tmp_path, order, layout, channels, extra):
    if BEFORE_12 and layout.get("packed") and extra == UNSPECIFIED:
        pytest.skip("Pillow before 12 cannot read such files")
    values = noise(channels)
    write_tiff(tmp_path / "a.tif", values, order=order, extra=extra, **layout)
    found = images.read(tmp_path / "a.tif")
    np.testing.assert_allclose(found.pixels.numpy(), values[..., :3] / 65535, atol=1e-6)
    if extra == STRAIGHT:
        np.testing.assert_allclose(found.alpha.numpy(), values[..., 3] / 65535, atol=1e-6)
    else:
        assert found.alpha is None


@pytest.mark.parametrize("extra", [None, STRAIGHT])
def test_packed_layers_keep_the_upper_bits(tmp_path, extra):
    values = noise(3 if extra is None else 4)
    write_tiff(tmp_path / "a.tif", values, layers=True, packed=True, extra=extra)
    np.testing.assert_allclose(images.read(tmp_path / "a.tif").pixels.numpy(), values[..., :3] / 65535, atol=1 / 255)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_premultiplied_colours_become_straight_with_16_bits(tmp_path, order, packed):
    colours, alpha = noise(3) / 65535, noise(4)[..., 3:]
    values = np.concatenate([(colours * alpha).round(), alpha], axis=2).astype(np.uint16)
    write_tiff(tmp_path / "a.tif", values, order=order, packed=packed, extra=PREMULTIPLIED)
    found = images.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.alpha.numpy(), (alpha[..., 0] / 65535).astype(np.float32))
    seen = alpha[..., 0] > 3000  # below, the file itself has too few steps
    np.testing.assert_allclose(found.pixels.numpy()[seen], colours[seen], atol=2e-4)


def test_one_layer_of_grey(tmp_path):
    values = noise(1)
    write_tiff(tmp_path / "a.tif", values, layers=True, photometric=1)
    found = images.read(tmp_path / "a.tif").pixels.numpy()
    np.testing.assert_allclose(found, values.repeat(3, axis=2) / 65535, atol=1e-6)


def test_layers_of_ink_are_refused_rather_than_read_wrong(tmp_path):
    write_tiff(tmp_path / "a.tif", noise(4), layers=True, photometric=5)
    with pytest.raises(ImageError, match="cannot be read"):
        images.read(tmp_path / "a.tif")


def test_grey_with_alpha_keeps_16_bits(tmp_path):
    values = noise(2)
    write_png(tmp_path / "a.png", values, 4)
    found = images.read(tmp_path / "a.png")
    np.testing.assert_allclose(found.pixels.numpy(), values[..., :1].repeat(3, axis=2) / 65535, atol=1e-6)
    np.testing.assert_allclose(found.alpha.numpy(), values[..., 1] / 65535, atol=1e-6)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_transparent_colour_of_a_picture_that_lies_turned(tmp_path, orientation, turns):
    values = noise(3)
    exif = Image.Exif()
    exif[274] = orientation
    key = (b"tRNS", values[2, 5].astype(">u2").tobytes())
    write_png(tmp_path / "a.png", values, 2, key, (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    found = images.read(tmp_path / "a.png")
    np.testing.assert_allclose(found.pixels.numpy(), np.rot90(values, turns) / 65535, atol=1e-6)
    clear = (values == values[2, 5]).all(axis=2)
    np.testing.assert_array_equal(found.alpha.numpy(), np.rot90(~clear, turns))


@pytest.mark.parametrize("white", [65535, 1023])
@pytest.mark.parametrize("plain", [False, True])
def test_a_ppm_keeps_all_its_bits(tmp_path, plain, white):
    values = noise(3) >> (16 - white.bit_length())
    data = values.astype(">u2").tobytes()
    if plain:
        data = b"# made by hand\n" + b"\n".join(b"%d" % value for value in values.ravel()) + b" # the end\n"
    (tmp_path / "a.ppm").write_bytes(b"P%d\n# told\n%d %d\n%d\n" % (3 if plain else 6, WIDTH, HEIGHT, white) + data)
    found = images.read(tmp_path / "a.ppm")
    np.testing.assert_allclose(found.pixels.numpy(), values / white, atol=1e-5)
    assert not found.reduced and found.alpha is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_inks_without_a_profile_keep_16_bits(tmp_path, order):
    values = noise(4)
    write_tiff(tmp_path / "a.tif", values, order=order, photometric=5)
    found = images.read(tmp_path / "a.tif")
    light = 1 - values / 65535
    np.testing.assert_allclose(found.pixels.numpy(), light[..., :3] * light[..., 3:], atol=1e-5)
    assert not found.reduced and found.alpha is None


def test_what_is_read_with_8_bits_though_it_has_more(tmp_path):
    write_tiff(tmp_path / "a.tif", noise(3), layers=True, packed=True)
    assert images.read(tmp_path / "a.tif").reduced
    frame = av.VideoFrame.from_ndarray(noise(3), format="rgb48le")
    context = av.CodecContext.create("jpeg2000", "w")
    context.width, context.height, context.pix_fmt, context.time_base = WIDTH, HEIGHT, "rgb48le", Fraction(1, 25)
    (tmp_path / "a.jp2").write_bytes(b"".join(bytes(one) for one in [*context.encode(frame), *context.encode(None)]))
    assert images.read(tmp_path / "a.jp2").reduced
    for name in ("8.jp2", "8.tif", "8.ppm"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
        assert not images.read(tmp_path / name).reduced


@pytest.mark.parametrize(
    "change, said",
    [
        ({"channels": 2, "photometric": 1, "extra": 2}, "grey in 2 channels of 16 bits, whole numbers"),
        ({"channels": 5, "extra": 2}, "RGB in 5 channels of 16 bits, whole numbers"),
        ({"format": 3}, "RGB in 3 channels of 16 bits, floating point"),
        ({"order": ">", "format": 2}, "RGB in 3 channels of 16 bits, whole numbers with a sign"),
    ],
)
def test_which_layout_of_a_tiff_is_not_read_is_said(tmp_path, change, said):
    options = {"channels": 3} | change
    channels, kind = options.pop("channels"), options.pop("format", None)
    write_tiff(tmp_path / "a.tif", noise(channels), **options, kind=kind)
    with pytest.raises(ImageError, match=rf"a\.tif is a TIFF of a layout that is not read \({said}\): save it as RGB"):
        images.read(tmp_path / "a.tif")
