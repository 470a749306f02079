"""An exported file in rembg, on a real photograph: the mask is that of our network on what rembg gives it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.matting.onnx_export import export_onnx
from birefnet_core.weights.load import load_network
from birefnet_core.weights.places import BUNDLED

ABSENT = [name for name in ("onnx", "onnxscript", "onnxruntime", "rembg") if importlib.util.find_spec(name) is None]
PHOTOGRAPH = Path(__file__).parents[2] / "demo" / "photograph.jpg"
SIDE = 1024  # that of rembg's BiRefNet sessions, whatever the file says


@torch.no_grad()
def expected(network, picture: Image.Image) -> np.ndarray:
    """By our network, with the preparation that rembg's session has: Lanczos, divided by the brightest value, the
    alpha stretched to span 0..255 and cut to whole numbers."""
    pixels = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    normalised = (pixels / pixels.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    image = torch.from_numpy(normalised.astype(np.float32)).movedim(-1, 0)[None]
    alpha = network(image).sigmoid()[0, 0].numpy()
    stretched = (alpha - alpha.min()) / (alpha.max() - alpha.min())
    mask = Image.fromarray((stretched * 255).astype("uint8"))
    return np.asarray(mask.resize(picture.size, Image.Resampling.LANCZOS), dtype=int)


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed here: {', '.join(ABSENT)}")
def test_rembg_gives_our_mask(tmp_path, monkeypatch):
    network, spec = load_network(BUNDLED)
    place = tmp_path / "models" / "birefnet-general" / "birefnet-general.onnx"
    place.parent.mkdir(parents=True)
    export_onnx(network, spec, place, size=SIDE, hint=False)
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    import rembg

    picture = Image.open(PHOTOGRAPH)
    mask = rembg.remove(picture, session=rembg.new_session("birefnet-general"), only_mask=True)
    ours = expected(network, picture)
    assert mask.size == picture.size
    assert ours.min() == 0 and ours.max() == 255 and ours.std() > 50
    difference = np.abs(np.asarray(mask, dtype=int) - ours)
    print(f"\nrembg beside ours: largest difference {difference.max()} of 255, mean {difference.mean():.4f}")
    assert difference.max() <= 2
