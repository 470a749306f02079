"""mode="detail". The network of most tests is a convolution that tells red from grey, blind to what is finer than a
pixel of its own size, so that the truth is known at any resolution."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import birefnet_core as bc
from birefnet_core.matting import MattingModel, detail
from birefnet_core.weights.catalog import ModelSpec

RED, GREY = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.45, 0.5, 0.5])


def model(size=(96, 96)):
    network = nn.Conv2d(3, 1, 1).eval()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([30.0, -15.0, -15.0]).view(1, 3, 1, 1))
        network.bias.fill_(-8.0)
    return MattingModel(network, ModelSpec(name="red", backbone="none", size=size, mean=(0, 0, 0), std=(1, 1, 1)))


def hairy(width=800, height=640, seed=0):
    """A red disc with hairs two pixels wide on a slightly noisy grey, [1, H, W, 3], and its exact alpha [H, W]."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    y, x = rows - height / 2, columns - width / 2
    away, turn = (x**2 + y**2).sqrt(), torch.atan2(y, x)
    radius = 0.25 * min(width, height)
    alpha = (radius + 0.5 - away).clamp(0, 1)
    for angle in torch.linspace(-3.1, 3.1, 60) + 0.02 * torch.randn(60, generator=draw):
        off = (away * torch.sin(turn - angle)).abs()
        hair = (1.5 - off).clamp(0, 1) * (torch.cos(turn - angle) > 0) * (away < 1.2 * radius)
        alpha = torch.maximum(alpha, hair)
    image = torch.lerp(GREY, RED, alpha[..., None]) + 0.005 * torch.randn(height, width, 3, generator=draw)
    return image.clamp(0, 1)[None], alpha


def error(alpha, truth):
    return (alpha - truth).abs().mean().item()


@pytest.mark.parametrize("size", [(800, 640), (500, 900), (1300, 300)])
@pytest.mark.parametrize("edges", ["off", "drawn"])
def test_hair_is_found_in_the_pictures_own_pixels(size, edges):
    image, truth = hairy(*size)
    whole, found = (model().predict(image, mode=mode, edges=edges)[0] for mode in ("whole", "detail"))
    assert found.shape == truth.shape and found.dtype == torch.float32
    assert found.min() >= 0 and found.max() <= 1
    assert error(found, truth) < 0.7 * error(whole, truth)


def test_nothing_changes_where_the_first_pass_was_certain():
    image, _ = hairy()
    whole, found = (model().predict(image, mode=mode, edges="off")[0] for mode in ("whole", "detail"))
    uncertain = ((whole > 0.05) & (whole < 0.95)).float()
    near = F.max_pool2d(uncertain[None], 101, 1, 50)[0] > 0
    assert not near.all()
    torch.testing.assert_close(found[~near], whole[~near], atol=0, rtol=0)


@pytest.mark.parametrize("size", [(96, 96), (40, 130), (1, 1), (3, 120)])
def test_small_pictures_have_nothing_to_gain(size):
    image = torch.rand(1, size[1], size[0], 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model().predict(image, mode="detail"), model().predict(image), atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 900), (1, 900, 1), (2, 5, 700)])
def test_pictures_of_any_shape(shape):
    image = torch.rand(*shape, 4, generator=torch.Generator().manual_seed(1))
    before = image.clone()
    found = model().predict(image, mode="detail")
    assert found.shape == shape and found.isfinite().all()
    assert torch.equal(image, before)


def test_colours_that_do_not_tell_the_subject_are_not_believed(monkeypatch):
    """Specks of both colours all around: the mixture finds subject everywhere, and the first pass nearly stays."""
    torch.manual_seed(0)
    alpha = torch.zeros(640, 640)
    alpha[200:440, 200:440] = 1
    first = F.avg_pool2d(alpha[None, None], 31, 1, 15)[0]
    image = torch.where(torch.rand(640, 640, 1) < 0.5, RED, GREY)[None]
    image = F.avg_pool2d(image.movedim(3, 1), 9, 1, 4).movedim(1, 3)
    found, believed = first.clone(), first.clone()
    list(detail.refine(found, image, (96, 96)))
    monkeypatch.setattr(detail, "WRONG", 1e9)
    list(detail.refine(believed, image, (96, 96)))
    before, kept, worse = (error(each[0, alpha == 0], 0) for each in (first, found, believed))
    assert kept - before < 0.3 * (worse - before)


def seen_first(truth, size=(200, 200)):
    """A first pass [1, H, W] that is right as far as its size goes."""
    small = F.interpolate(truth[None, None], size=size, mode="bilinear", antialias=True)
    return F.interpolate(small, size=truth.shape, mode="bilinear")[0]


def refined(first, image, size=(200, 200)):
    found = first.clone()
    list(detail.refine(found, image[None], size))
    return found


def square(side=600, border=120, value=1.0):
    alpha = torch.zeros(side, side)
    alpha[border:-border, border:-border] = value
    return alpha


def veil():
    alpha = square()
    alpha[120:480, 380:480] = 0.5
    return alpha


def smoke():
    away = torch.linspace(-3, 3, 600).square()
    return 0.8 * torch.exp(-(away[:, None] + away))


@pytest.mark.parametrize("truth", [square(value=0.5), square(border=230, value=0.5), veil(), smoke()])
def test_what_is_half_transparent_stays_so(truth):
    first = seen_first(truth)
    found = refined(first, torch.lerp(GREY, RED, truth[..., None]))
    assert error(found, truth) < error(first, truth) + 1e-4
    half = (truth > 0.3) & (truth < 0.7)
    assert (found[0] - truth)[half].abs().mean() < (first[0] - truth)[half].abs().mean() + 0.002


@pytest.mark.parametrize("kind", ["stripes", "rim light"])
def test_a_subject_with_the_backgrounds_colours_keeps_them(kind):
    """A first pass that is blurred, so that detail has an edge to find."""
    truth = square()
    first = seen_first(F.avg_pool2d(truth[None, None], 9, 1, 4)[0, 0])
    dark = square(border=132) if kind == "rim light" else truth * (torch.arange(600) // 30 % 2)[:, None]
    found = refined(first, torch.lerp(GREY, RED, dark[..., None]))
    lost, lost_before = ((each[0] < 0.5)[truth > 0.5].sum() for each in (found, first))
    assert lost < lost_before + 200
    assert error(found, truth) < 1.15 * error(first, truth)


def test_a_contact_shadow_stays_out():
    truth = square()
    first = seen_first(F.avg_pool2d(truth[None, None], 9, 1, 4)[0, 0])
    image = torch.where(truth[..., None] > 0, 0.1, 0.8).repeat(1, 1, 3)
    image[480:490, 120:480] = 0.35
    found = refined(first, image)
    assert (found[0] > 0.5)[truth == 0].sum() < 400  # of 3,600
    assert error(found, truth) < 0.7 * error(first, truth)


@pytest.mark.parametrize("part", ["_band", "_ends"])
def test_memory_that_ends_before_the_first_tile_is_said(monkeypatch, part):
    def full(*_):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)")

    monkeypatch.setattr(detail, part, full)
    with pytest.raises(
        torch.OutOfMemoryError, match="not enough memory on cpu for the detail of one 800 x 640 picture"
    ):
        model().predict(hairy()[0], mode="detail")


def test_parts_are_read_as_with_the_border_repeated():
    maps = torch.rand(1, 2, 13, 17, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(maps, size=(60, 90), mode="bilinear")
    box = detail.Box(70, 0, 90, 60)
    torch.testing.assert_close(detail._part(maps, box, (60, 90)), whole[..., :, 70:90], atol=1e-5, rtol=0)


def test_bytes_and_floats_give_the_same_whatever_the_batch():
    image, _ = hairy()
    images = torch.cat([image, image.flip(2)])
    each = torch.cat([model().predict(one[None], mode="detail") for one in images])
    torch.testing.assert_close(model().predict(images, mode="detail", batch_size=2), each, atol=1e-5, rtol=0)
    coded = (255 * images).round().byte()
    assert error(model().predict(coded, mode="detail"), each) < 1e-3


def test_dynamic_models_see_the_picture_itself():
    image, _ = hairy(400, 320)
    for mode in ("whole", "detail"):
        assert model(size=None).predict(image, mode=mode).shape == (1, 320, 400)
    found, whole = (model(size=None).predict(image, mode=mode) for mode in ("detail", "whole"))
    assert torch.equal(found, whole)


def test_what_a_hint_asks_for_is_refined():
    left, truth = hairy(640, 640)
    image = torch.cat([left, left.flip(2)], dim=2)
    hint = torch.zeros(640, 1280)
    hint[160:480, 160:480] = 1
    whole, found = (model().predict(image, mode=mode, hint=hint)[0] for mode in ("whole", "detail"))
    asked = torch.cat([truth, torch.zeros_like(truth)], dim=1)
    assert error(found, asked) < error(whole, asked)
    assert found[:, 960:].mean() < 0.01  # the other stays out


def test_progress_comes_by_the_tile_and_may_stop_the_work(monkeypatch):
    monkeypatch.setattr(detail, "TILE", 128)
    image, _ = hairy()
    calls = []
    model().predict(image.repeat(2, 1, 1, 1), mode="detail", on_progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert all(call[1] == 2 for call in calls) and done == sorted(done) and done[-1] == 2
    assert len(done) > 20 and any(0 < each < 1 for each in done) and any(1 < each < 2 for each in done)

    class Stopped(RuntimeError):
        pass

    seen = []

    def stop(done, total):
        seen.append(done)
        if len(seen) == 3:
            raise Stopped("out of memory")  # not ours to swallow

    with pytest.raises(Stopped):
        model().predict(image, mode="detail", on_progress=stop)
    assert len(seen) == 3 and seen[-1] < 1


def test_a_tile_that_does_not_fit_is_quartered(monkeypatch):
    image, _ = hairy()
    expected = model().predict(image, mode="detail")
    part, sizes = detail._part, []

    def full(maps, box, shape):
        sizes.append(max(box.size))
        if max(box.size) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return part(maps, box, shape)

    monkeypatch.setattr(detail, "_part", full)
    limit = 300
    torch.testing.assert_close(model().predict(image, mode="detail"), expected, atol=1e-5, rtol=0)
    assert max(sizes) == 800 and min(sizes) <= 300
    limit = 0
    with pytest.raises(torch.OutOfMemoryError, match="not enough memory on cpu for 64 x 64 pixels of detail"):
        model().predict(image, mode="detail")


def test_the_bundled_model_finds_finer_edges():
    image, truth = hairy(1400, 1200)
    bundled = bc.load_model("bundled", device="cpu")
    whole, found = (bundled.predict(image, mode=mode)[0] for mode in ("whole", "detail"))
    assert error(found, truth) < 0.85 * error(whole, truth)
