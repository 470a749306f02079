import numpy as np
import pytest
from PIL import Image, ImageFont

from train.scenes.cutouts import read_pack
from train.scenes.drawn.canvas import Canvas, over, warped
from train.scenes.drawn.kinds import KINDS, draw, read_fonts

FONTS = [ImageFont.load_default(20).font_bytes]
SIZE = 96


@pytest.fixture(scope="module")
def drawn():
    """Twenty-four cut-outs of each kind as arrays 0..1, by kind."""
    return {
        kind: [np.asarray(draw(kind, number, FONTS, seed=1, size=SIZE), float) / 255 for number in range(24)]
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_out_is_the_same_every_time_and_others_are_others(drawn, kind):
    again = [np.asarray(draw(kind, number, FONTS, seed=1, size=SIZE), float) / 255 for number in (0, 5)]
    np.testing.assert_array_equal(again[0], drawn[kind][0])
    np.testing.assert_array_equal(again[1], drawn[kind][5])
    assert len({picture.tobytes() for picture in drawn[kind]}) == 24
    other = np.asarray(draw(kind, 0, FONTS, seed=2, size=SIZE), float) / 255
    assert other.shape != drawn[kind][0].shape or not np.array_equal(other, drawn[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_out_shows_something_and_leaves_something_out(drawn, kind):
    for picture in drawn[kind]:
        alpha = picture[..., 3]
        assert 0.003 * SIZE**2 < alpha.sum() < 0.99 * alpha.size, kind
        assert alpha.max() > 0.2


def test_light_smoke_and_glass_are_soft_and_drawings_solid(drawn):
    def soft(kind):
        alpha = np.concatenate([picture[..., 3].ravel() for picture in drawn[kind]])
        return ((alpha > 0.1) & (alpha < 0.9)).sum() / (alpha > 0.1).sum()

    assert min(soft("Smoke"), soft("Glow"), soft("Glass")) > 0.3
    assert max(soft("Drawings"), soft("LineArt")) < 0.25


def test_what_shines_is_whiter_where_it_covers_more(drawn):
    darkest = [picture[..., :3].min(axis=2) for picture in drawn["Glow"]]
    strong = np.concatenate([least[picture[..., 3] > 0.97] for least, picture in zip(darkest, drawn["Glow"])])
    faint = np.concatenate([least[abs(picture[..., 3] - 0.2) < 0.1] for least, picture in zip(darkest, drawn["Glow"])])
    assert strong.mean() > faint.mean() + 0.2


def test_over_is_the_operator_for_straight_colours():
    rng = np.random.default_rng(0)
    (front, a), (back, b) = ((rng.random((3, 3, 3)), rng.random((3, 3))) for _ in range(2))
    ground = rng.random((3, 3, 3))
    colour, alpha = over((front, a), (back, b))
    a, b, alpha = a[..., None], b[..., None], alpha[..., None]
    expected = a * front + (1 - a) * (b * back + (1 - b) * ground)
    np.testing.assert_allclose(alpha * colour + (1 - alpha) * ground, expected, atol=1e-6)


def test_a_warp_moves_by_what_it_is_told():
    canvas = Canvas(32)
    canvas.ellipse((0.5, 0.5), (0.2, 0.2))
    mask, zero = canvas.mask(), np.zeros((32, 32), np.float32)
    np.testing.assert_allclose(warped(mask, zero, zero), mask, atol=1e-6)
    np.testing.assert_allclose(warped(mask, zero + 4 / 32, zero)[:, 4:28], mask[:, 8:32], atol=1e-5)
    np.testing.assert_allclose(warped(mask, zero, zero - 3 / 32)[6:], mask[3:29], atol=1e-5)


def test_a_pack_takes_every_kind(drawn, tmp_path):
    for kind, pictures in drawn.items():
        for number, picture in enumerate(pictures[:6]):
            path = tmp_path / "foregrounds" / kind / f"{kind.lower()}{number:04}_0.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(path, lossless=True)
    for number in range(2):
        path = tmp_path / "backgrounds" / "Plain" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "grey").save(path)
    problems = []
    training, validation = read_pack(tmp_path, problems=problems)
    assert not problems and len(training.foregrounds) + len(validation.foregrounds) == 6 * len(KINDS)


def test_a_package_without_fonts_is_named(tmp_path):
    from tests.train.evaluation.test_sets import write_deb

    write_deb(tmp_path / "fonts-none_1.deb", {"usr/share/doc/licence": b""})
    with pytest.raises(ValueError, match=r"fonts-none_1\.deb holds no font"):
        read_fonts(tmp_path, ["fonts-none"])
    with pytest.raises(FileNotFoundError, match="apt-get download fonts-other"):
        read_fonts(tmp_path, ["fonts-other"])
