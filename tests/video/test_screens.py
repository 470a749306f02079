"""Clips before a screen: keyed and despilled frame by frame, the screen's colour steady, what shows none untouched."""

import av
import numpy as np
import pytest
import torch

from birefnet_core.video import Look, matte_clip
from birefnet_core.video.read import Clip
from birefnet_core.video.screens import Screens

SIZE, FRAMES = 96, 4
SKIN, GREEN = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.13, 0.62, 0.24])


def disc(softness: float, left: float = SIZE / 2) -> torch.Tensor:
    places = torch.arange(SIZE) + 0.5
    distance = torch.hypot(places[:, None] - SIZE / 2, places[None] - left)
    return ((26 - distance) / softness + 0.5).clamp(0, 1)


def frame(index: int, screen: torch.Tensor = GREEN) -> torch.Tensor:
    truth = disc(10, 44 + 2 * index)[..., None]
    return truth * SKIN + (1 - truth) * screen * torch.linspace(0.85, 1.15, SIZE)[:, None, None]


@pytest.fixture
def clip(tmp_path):
    """The disc moves before the screen, without loss."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "bgr0"
        for index in range(FRAMES):
            pixels = (frame(index) * 255).round().byte().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return Clip(path)


def network(pixels: torch.Tensor) -> torch.Tensor:
    """One that knows no motion blur: it is given frames in order."""
    mattes = [disc(4, 44 + 2 * (network.seen + index)) for index in range(len(pixels))]
    network.seen += len(pixels)
    return torch.stack(mattes)


def written(clip, tmp_path, name, **look):
    """RGBA [FRAMES, SIZE, SIZE, 4] 0..1 of the pictures written."""
    from PIL import Image

    network.seen = 0
    folder = matte_clip(clip, tmp_path / name, network, format="png", look=Look(**look))
    files = sorted(folder.glob("*.png"))
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).float() / 255


@pytest.mark.parametrize("asked", ["auto", "green"])
def test_frames_are_keyed(clip, tmp_path, asked):
    plain, keyed = written(clip, tmp_path, "plain"), written(clip, tmp_path, "keyed", screen=asked)
    for index in range(FRAMES):
        truth = disc(10, 44 + 2 * index)
        soft = (truth > 0.1) & (truth < 0.9)
        errors = [(each[index, ..., 3] - truth).abs()[soft].mean() for each in (plain, keyed)]
        assert errors[1] < 0.5 * errors[0]
        colours = [(each[index, ..., :3] - SKIN).abs().mean(-1)[soft].mean() for each in (plain, keyed)]
        assert colours[1] < 0.3 * colours[0]


def test_despill_leaves_the_matte(clip, tmp_path):
    plain, clean = written(clip, tmp_path, "plain"), written(clip, tmp_path, "clean", despill="auto")
    assert torch.equal(plain[..., 3], clean[..., 3])
    soft = (plain[..., 3] > 0.2) & (plain[..., 3] < 0.9)
    assert (clean[..., :3] - SKIN).abs()[soft].mean() < 0.7 * (plain[..., :3] - SKIN).abs()[soft].mean()
    both = written(clip, tmp_path, "both", despill="green", clean_foreground=True)
    assert torch.equal(plain[..., 3], both[..., 3])


def test_a_clip_without_such_a_screen_is_as_it_was(clip, tmp_path):
    plain = written(clip, tmp_path, "plain")
    assert torch.equal(written(clip, tmp_path, "blue", screen="blue"), plain)


def test_the_screen_is_steady_and_a_cut_is_none():
    screens, fields = Screens("auto", "off"), []
    for light in (1, 0.9, 1.1, 0.5):
        screens(frame(0, GREEN * light), disc(4, 44), None)
        fields.append(screens._before.field.mean().item())
    assert abs(fields[1] - fields[0]) < 0.03 * fields[0] and abs(fields[2] - fields[1]) < 0.05 * fields[0]
    assert fields[3] == pytest.approx(0.5 * fields[0], rel=0.02)
    grey = torch.tensor([0.4, 0.4, 0.4])
    assert screens(frame(0, grey), disc(4, 44), None) is None


def test_invert_and_wrong_words_are_refused(clip, tmp_path):
    with pytest.raises(ValueError, match="leave screen and despill off"):
        written(clip, tmp_path, "x", screen="auto", invert=True)
    with pytest.raises(ValueError, match="not 'teal'"):
        written(clip, tmp_path, "x", despill="teal")
    assert not (tmp_path / "x").exists()
