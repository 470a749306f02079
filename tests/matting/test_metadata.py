"""Resolution, EXIF and XMP of what is matted, in every kind of output."""

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin

from birefnet_core.matting import images
from birefnet_core.matting.images import read

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    b' xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:Orientation="6" exif:PixelXDimension="300" xmp:Rating="4">'
    b"<tiff:ImageWidth>300</tiff:ImageWidth><xmp:Thumbnails>old picture</xmp:Thumbnails>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
ALPHA = torch.ones(30, 20)


def camera(orientation=6):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x013B] = "Maker", "Model", orientation, "Somebody"
    exif[0x8769] = {0x829A: 0.5, 0xA002: 30, 0xA003: 20, 0x9003: "2024:05:06 07:08:09"}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 15.0)}
    return exif


def saved(path, **options):
    """A picture of 30 x 20, 20 x 30 when turned upright."""
    if path.suffix == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    elif path.suffix == ".tif":
        options["exif"][700] = options.pop("xmp")
        options["exif"] = options["exif"].tobytes()
    Image.new("RGB", (30, 20), "teal").save(path, **options)
    return path


def write(kind, path, picture):
    if kind == "alpha":
        images.write_alpha(path, ALPHA, depth=16, metadata=picture.metadata)
    elif kind == "cutout":
        images.write_cutout(path, picture.pixels, ALPHA, metadata=picture.metadata)
    else:
        images.write_composite(path, picture.pixels, ALPHA, "white", metadata=picture.metadata)
    return path


OUTPUTS = [
    ("alpha", ".png"),
    ("cutout", ".png"),
    ("cutout", ".webp"),
    *(("composite", s) for s in (".png", ".jpg", ".webp")),
]


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize(("kind", "suffix"), OUTPUTS)
def test_what_is_known_of_a_picture_stays(tmp_path, source, kind, suffix):
    picture = read(saved(tmp_path / f"a{source}", exif=camera(), dpi=(300, 150), xmp=XMP))
    assert picture.pixels.shape == (30, 20, 3)
    with Image.open(write(kind, tmp_path / f"out{suffix}", picture)) as found:
        exif = found.getexif()
        assert (exif[0x010F], exif[0x0110], exif[0x013B]) == ("Maker", "Model", "Somebody")
        assert exif.get(0x0112, 1) == 1
        assert not {256, 257, 273, 700} & set(exif)
        ifd = exif.get_ifd(0x8769)
        assert (ifd[0xA002], ifd[0xA003], ifd[0x9003], float(ifd[0x829A])) == (20, 30, "2024:05:06 07:08:09", 0.5)
        place = exif.get_ifd(0x8825)
        assert (place[1], [float(part) for part in place[2]]) == ("N", [52, 30, 15])
        xmp = found.info.get("xmp") or found.info["XML:com.adobe.xmp"].encode()
        assert b'tiff:Orientation="6"' not in xmp and b'exif:PixelXDimension="20"' in xmp and b'xmp:Rating="4"' in xmp
        assert b"<tiff:ImageWidth>20</tiff:ImageWidth>" in xmp and b"Thumbnails" not in xmp
        if source != ".webp":  # turned upright across is down; WebP itself says no resolution, nor did Pillow's EXIF
            assert [float(exif[tag]) for tag in (282, 283, 296)] == pytest.approx([150, 300, 2], abs=0.02)
            if suffix != ".webp":
                assert found.info["dpi"] == pytest.approx((150, 300), abs=0.02)


@pytest.mark.parametrize(("kind", "suffix"), OUTPUTS)
def test_resolution_alone(tmp_path, kind, suffix):
    Image.new("RGB", (20, 30)).save(tmp_path / "a.png", dpi=(300, 300))
    with Image.open(write(kind, tmp_path / f"out{suffix}", read(tmp_path / "a.png"))) as found:
        exif = found.getexif()
        if suffix == ".webp":
            assert (float(exif[282]), float(exif[283]), exif[296]) == (pytest.approx(300, abs=0.02),) * 2 + (2,)
        else:
            assert found.info["dpi"] == pytest.approx((300, 300), abs=0.02)
            assert not exif


def test_a_preview_is_left_away(tmp_path):
    """The thumbnail shows the picture uncut."""
    exif = camera(1)
    data = bytearray(exif.tobytes())
    plain = read(saved(tmp_path / "a.jpg", exif=bytes(data), xmp=XMP)).metadata.exif
    # the second directory, IFD1, with a JPEG inside; the place of its offset is after the first directory's entries
    entries = int.from_bytes(data[14:16], "little" if data[6:8] == b"II" else "big")
    order = "little" if data[6:8] == b"II" else "big"
    place = 16 + 12 * entries
    data[place : place + 4] = (len(data) - 6).to_bytes(4, order)
    preview = b"\xff\xd8preview\xff\xd9"
    start = len(data) - 6 + 2 + 24 + 4
    for number, size in (
        (2, 2),
        (0x0201, 2),
        (4, 2),
        (1, 4),
        (start, 4),
        (0x0202, 2),
        (4, 2),
        (1, 4),
        (len(preview), 4),
    ):
        data += number.to_bytes(size, order)
    data += bytes(4) + preview
    with Image.open(saved(tmp_path / "b.jpg", exif=bytes(data), xmp=XMP)) as image:
        assert 0x0201 in image.getexif().get_ifd(ExifTags.IFD.IFD1)
    found = read(tmp_path / "b.jpg").metadata.exif
    assert found == plain and b"preview" not in found


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM not really", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"", b"Exif\0\0II*\0\xff\xff\xff\x7f"]
)
def test_damaged_exif_leaves_the_picture_alone(tmp_path, exif):
    Image.new("RGB", (20, 30)).save(tmp_path / "a.jpg", exif=exif)
    picture = read(tmp_path / "a.jpg")
    write("cutout", tmp_path / "out.png", picture)
    assert read(tmp_path / "out.png").pixels.shape == (30, 20, 3)


def test_resolutions_that_are_none(tmp_path):
    for number in (0, 1e6):
        Image.new("RGB", (20, 30)).save(tmp_path / "a.tif", x_resolution=number, y_resolution=number, resolution_unit=2)
        picture = read(tmp_path / "a.tif")
        assert picture.metadata.dpi is None
        write("composite", tmp_path / f"{number}.jpg", picture)


def test_what_a_jpeg_cannot_hold_is_left_away(tmp_path):
    exif = camera()
    exif[0x8769][0x927C] = bytes(70000)
    picture = read(saved(tmp_path / "a.png", exif=exif, xmp=XMP + b" " * 70000))
    assert len(picture.metadata.exif) > 70000 and len(picture.metadata.xmp) > 70000
    with Image.open(write("composite", tmp_path / "out.jpg", picture)) as found:
        assert not found.getexif() and "xmp" not in found.info
    with Image.open(write("composite", tmp_path / "out.png", picture)) as found:
        assert len(found.getexif().get_ifd(0x8769)[0x927C]) == 70000


def test_tags_of_a_tiffs_own_layout_do_not_travel(tmp_path):
    Image.fromarray(np.zeros((30, 20), np.uint16)).save(tmp_path / "a.tif", compression="tiff_lzw", software="Scanner")
    with Image.open(write("cutout", tmp_path / "out.png", read(tmp_path / "a.tif"))) as found:
        assert {tag for tag in found.getexif() if tag not in (282, 283, 296)} == {305}


def maker(**tags):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    for tag, value in tags.items():
        exif[int(tag.removeprefix("t"))] = value
    return exif


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.tif", {}, None),  # Pillow says 1
        ("a.tif", {"x_resolution": 2, "y_resolution": 1, "resolution_unit": 1}, None),  # a ratio
        ("a.tif", {"x_resolution": 100, "y_resolution": 50, "resolution_unit": 3}, (254, 127)),
        ("a.jpg", {}, None),
        ("a.jpg", {"exif": maker()}, None),  # Pillow says 72
        ("a.jpg", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}, None),
        ("a.jpg", {"exif": maker(t282=100, t283=50, t296=3)}, (254, 127)),  # Pillow takes the first for both
        ("a.jpg", {"exif": maker(t282=100, t283=50, t296=1)}, None),
        ("a.jpg", {"dpi": (300, 300), "exif": maker()}, (300, 300)),
        ("a.png", {}, None),
        ("a.png", {"dpi": (300, 150)}, (300, 150)),
        ("a.webp", {"exif": maker(t282=100, t283=50, t296=2)}, (100, 50)),
        ("a.bmp", {"dpi": (300, 150)}, (300, 150)),
    ],
)
def test_only_a_resolution_that_the_file_states_is_known(tmp_path, name, options, expected):
    Image.new("RGB", (30, 20), "teal").save(tmp_path / name, **options)
    found = read(tmp_path / name).metadata.dpi
    assert found == (expected and pytest.approx(expected, abs=0.1))
