"""The synthetic shots before screens, and the figures of despill and key on them."""

import numpy as np
import pytest
from PIL import Image

from train.evaluation import screens
from train.evaluation.screen_shots import SCREENS, shoot


def ball(colour):
    """An RGBA cut-out of a ball."""
    y, x = np.mgrid[0:120, 0:120] - 59.5
    pixels = np.empty((120, 120, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, 255 * (np.hypot(y, x) < 58)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("colour", SCREENS)
def test_a_shot_is_what_it_says(colour):
    shots = [shoot(ball((180, 140, 120)), colour, seed) for seed in range(8)]
    assert {shot.moving for shot in shots} == {True, False}
    for shot in shots:
        image = shot.image / 255
        background, inside = image[shot.alpha == 0], shot.alpha > 0.99
        assert (background.argmax(-1) == screens.KEY[colour]).mean() > 0.99
        assert background.std(0).max() > 0.01, "the light is uneven"
        assert np.abs(shot.foreground[inside] - np.array([180, 140, 120]) / 255).mean() < 0.01
        lit, light = image[inside], np.array([0.2126, 0.7152, 0.0722])
        channel = screens.KEY[colour]
        others = [other for other in range(3) if other != channel]
        spill = (lit - shot.foreground[inside]) @ np.eye(3)[channel]
        assert spill.mean() > (lit - shot.foreground[inside])[:, others].mean(), "the screen shines on the subject"
        assert abs(((lit - shot.foreground[inside]) @ light).mean()) < 0.05, "with as much light as without"


def test_shots_repeat():
    first, again = (shoot(ball((90, 90, 90)), "green", 5) for _ in range(2))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.alpha, again.alpha)


def test_groups():
    assert screens.group_of(shoot(ball((40, 160, 50)), "green", 1)) == "green, subjects with green"
    assert screens.group_of(shoot(ball((40, 160, 50)), "blue", 1)) == "blue, other subjects"
    assert screens.group_of(shoot(ball((30, 60, 200)), "blue", 1)) == "blue, subjects with blue"


def test_figures_and_table():
    shot = shoot(ball((180, 140, 120)), "green", 2)
    assert screens.figures(shot, shot.alpha, shot.foreground) == [0, 0, 0, 0]
    wrong = screens.figures(shot, (shot.alpha + 0.25).clip(0, 1), shot.foreground + 0.5)
    assert wrong[:2] == pytest.approx([0.5, 0.5]) and 0 < wrong[3] <= 0.25
    lines = screens.table([("green, other subjects", {"key": [0.5, 0.25, 0.0625, 0.125]})]).splitlines()
    assert lines[2].startswith("| green, other subjects | 1 | key | 0.5000 | 0.2500 | 0.0625 | 0.1250 |")


def test_the_command_writes_edges(tmp_path, capsys):
    ball((180, 140, 120)).save(tmp_path / "ball.png")
    screens.main(["--edges", str(tmp_path / "ball.png"), "--pictures", str(tmp_path / "edges.png")])
    assert Image.open(tmp_path / "edges.png").size == (4 * screens.EDGE, screens.EDGE)
    with pytest.raises(SystemExit):
        screens.main(["--edges", str(tmp_path / "ball.png")])
    with pytest.raises(SystemExit, match="nothing was measured"):
        screens.main(["--packages", str(tmp_path)])


def test_what_keeps_it_from_measuring_is_a_sentence(tmp_path, capsys):
    Image.new("RGBA", (50, 50)).save(tmp_path / "clear.png")
    with pytest.raises(SystemExit, match=r"clear\.png has nothing that is half opaque"):
        screens.main(["--edges", str(tmp_path / "clear.png"), "--pictures", str(tmp_path / "edges.png")])
    with pytest.raises(SystemExit):
        screens.main(["--packages", str(tmp_path), "--every", "0"])
    assert "--every must be 1 or more" in capsys.readouterr().err
