"""Mattes are read as the suite reads what it mattes: bits, sense of white, orientation, formats."""

import numpy as np
import pytest
from PIL import Image

from birefnet_core.matting.images import read
from tests.matting.test_image_files import tiff
from train.shared.pictures import by_stem, read_levels, save_picture


@pytest.mark.parametrize(
    "data", [tiff([0, 1, 2048, 4095], bits=12), tiff([0, 1, 65535], bits=16, photometric=0), tiff([0, 9], bits=16)]
)
def test_tiffs_of_any_depth_and_sense_are_read_as_the_suite_reads_them(tmp_path, data):
    (tmp_path / "a.tif").write_bytes(data)
    levels = read_levels(tmp_path / "a.tif")
    assert levels.dtype == np.uint16
    np.testing.assert_allclose(levels / 65535, read(tmp_path / "a.tif").pixels[..., 0], atol=0.51 / 65535)


def test_integers_beyond_16_bits_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 2**30]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be read: its values go from 0 to 16384\.3"):
        read_levels(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg"])
def test_damaged_exif_does_not_spoil_a_matte(tmp_path, name):
    Image.new("L", (16, 8), 255).save(tmp_path / name, exif=b"Exif\0\0garbagegarbage")
    assert read_levels(tmp_path / name).tolist() == [[255] * 16] * 8


def test_no_other_format_is_opened_whatever_its_name(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch started\n")  # what Pillow starts to read an EPS
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "a.png").write_text(eps)
    with pytest.raises(ValueError, match=r"a\.png is not a picture we can read"):
        read_levels(tmp_path / "a.png")
    assert not (tmp_path / "started").exists()


def test_pictures_are_found_by_the_suffixes_that_training_knows(tmp_path):
    for name in ("a.jfif", "b.gif", "c.PNG"):
        save_picture(Image.new("L", (4, 4)), tmp_path / name)
    assert list(by_stem(tmp_path)) == ["a", "b", "c"]
