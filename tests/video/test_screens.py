"""Clips before a screen: keyed and despilled frame by frame, the screen's colour steady, what shows none untouched."""

import re

import av
import numpy as np
import pytest
import torch

from birefnet_core.video import Look, matte_clip
from birefnet_core.video.notes import notes_to
from birefnet_core.video.read import Clip
from birefnet_core.video.screens import Screens

SIZE, FRAMES = 96, 4
SKIN, GREEN = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.13, 0.62, 0.24])

PLACES = torch.stack(torch.meshgrid(*[torch.arange(SIZE) + 0.5] * 2, indexing="ij"), -1).view(-1, 2)
CENTRE = torch.tensor([[SIZE / 2, SIZE / 2]])


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


@pytest.mark.parametrize("side", [12, 20, 30])
def test_after_a_cut_a_room_with_something_green_is_no_screen(side):
    """However much of the room it is, up to half of what is behind the subject, which then may be a screen."""
    screens, alpha = Screens("auto", "off"), disc(4, 60)
    room = frame(0, torch.tensor([0.4, 0.4, 0.4]))
    room[:, :side] = GREEN
    for _ in range(2):
        assert screens(frame(0), disc(4, 44), None) is not None
        assert screens(room, alpha, None) is None


def test_a_screen_of_about_half_the_background_does_not_come_and_go():
    screens, room = Screens("auto", "off"), torch.tensor([0.4, 0.4, 0.4])
    shown = []
    for wall in (40, 46, 50, 46, 54, 50, 56, 62, 66, 90):  # of 96 columns beside the screen; the camera turns away
        shot = GREEN.repeat(SIZE, SIZE, 1)
        shot[:, :wall] = room
        shown.append(screens(shot, torch.zeros(SIZE, SIZE), None) is not None)
    assert shown == [True] * 9 + [False]


@pytest.mark.parametrize("asked", ["auto", "green"])
def test_a_subject_that_hides_nearly_all_of_the_screen_is_still_keyed(asked):
    screens = Screens(asked, "off")
    for radius in (20, 40, 60):
        truth, matte = (
            ((radius - torch.cdist(PLACES, CENTRE)[:, 0].view(SIZE, SIZE)) / softness + 0.5).clamp(0, 1)
            for softness in (10, 4)
        )
        alpha, _ = screens(truth[..., None] * SKIN + (1 - truth[..., None]) * GREEN, matte, None)
        soft = (truth > 0.1) & (truth < 0.9)
        assert (alpha - truth).abs()[soft].mean() < 0.5 * (matte - truth).abs()[soft].mean()


@pytest.mark.parametrize("despill", ["green", "auto"])
@pytest.mark.parametrize("screen", ["auto", "green"])
def test_what_screen_does_not_find_is_despilled_as_despill_says(screen, despill):
    wall = torch.tensor([0.4, 0.38, 0.4])
    shot, alpha = frame(0, wall), disc(4, 44)
    shot[alpha == 1] = torch.tensor([0.45, 0.56, 0.49])  # grey in the light of a screen that is not in the picture
    made = Screens(screen, despill)(shot, alpha, None)
    alone = Screens("off", despill)(shot, alpha, None)
    if despill == "auto":
        assert made is alone is None
        return
    assert torch.equal(made[0], alpha), "nothing is keyed"
    assert torch.equal(made[1], alone[1]) and (made[1] - shot)[alpha == 1][:, 1].mean() < -0.02
    keyed, only = (Screens(screen, way)(frame(0), alpha, None) for way in (despill, "off"))
    assert torch.equal(keyed[0], only[0]) and not torch.equal(keyed[0], alpha)
    assert torch.equal(keyed[1], only[1])


def test_strength_goes_from_nothing_to_all(clip, tmp_path):
    plain = written(clip, tmp_path, "plain")
    strengths = {"none": 0, "half": 0.5, "whole": 1}
    made = {name: written(clip, tmp_path, name, despill="green", despill_strength=at) for name, at in strengths.items()}
    none, half, whole = made.values()
    seen = plain[..., 3] > 0.2
    assert (none - plain)[seen].abs().max() < 0.01 and (whole - plain)[seen].abs().max() > 0.1
    assert (half - (plain + whole) / 2)[seen].abs().max() < 0.01


def test_invert_and_wrong_words_are_refused(clip, tmp_path):
    with pytest.raises(ValueError, match="leave screen and despill off"):
        written(clip, tmp_path, "x", screen="auto", invert=True)
    with pytest.raises(ValueError, match="not 'teal'"):
        written(clip, tmp_path, "x", despill="teal")
    with pytest.raises(ValueError, match="screen is blue and despill green: a shot has one screen"):
        written(clip, tmp_path, "x", screen="blue", despill="green")
    with pytest.raises(ValueError, match=r"strength of despill must be 0\.\.1, not 2"):
        written(clip, tmp_path, "x", despill="green", despill_strength=2.0)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "look, said",
    [
        ({"screen": "auto"}, "in.mkv: 4 of 4 frames show no green or blue screen where the mask says background"),
        ({"screen": "blue", "despill": "blue"}, "4 of 4 frames show no blue screen .*: the matte stays as it is"),
        ({"despill": "auto"}, "4 of 4 frames show no green or blue screen .*: colours stay as they are"),
        ({"despill": "green"}, "4 of 4 frames show no green screen .*: a usual green is taken for its light"),
    ],
)
def test_a_clip_without_the_screen_asked_for_is_told_once(tmp_path, make_clip, look, said):
    grey = np.full((SIZE, SIZE, 3), 120, np.uint8)
    clip = Clip(make_clip("in.mkv", codec="ffv1", size=(SIZE, SIZE), count=FRAMES, frame=lambda index, *size: grey))
    notes = []
    with notes_to(notes.append):
        matte_clip(clip, tmp_path / "out", lambda pixels: disc(4).expand(len(pixels), -1, -1), look=Look(**look))
    assert len(notes) == 1 and re.search(said, notes[0])


def test_a_clip_with_its_screen_tells_nothing(clip, tmp_path):
    with notes_to(pytest.fail):
        written(clip, tmp_path, "keyed", screen="green")
