"""The guided filter that draws edges after the picture, and the models that ask for it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from birefnet_core.matting import edges
from birefnet_core.matting.load import load_model
from birefnet_core.matting.model import MattingModel, drawn_after
from birefnet_core.matting.size import idle_radius
from birefnet_core.matting.tensors import resize
from birefnet_core.weights.inspection import inspect
from birefnet_core.weights.save import save_model
from train.recipe import read_recipe

RADIUS = 8


def reference(alpha, colours, radius):
    """Equations 5, 6 and 8 of the guided filter for colours, in double precision, window by window."""

    def window(maps):
        return F.avg_pool2d(maps, 2 * radius + 1, 1, radius, count_include_pad=False)

    alpha, colours = alpha.double(), colours.double()
    mean, mean_alpha = window(colours), window(alpha)
    products = window((colours[:, :, None] * colours[:, None]).flatten(1, 2)).unflatten(1, (3, 3))
    covariance = products - mean[:, :, None] * mean[:, None]
    system = covariance.permute(0, 3, 4, 1, 2) + edges.EVENNESS * torch.eye(3).double()
    shared = window(colours * alpha) - mean * mean_alpha
    slope = torch.linalg.solve(system, shared.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
    return torch.cat([window(slope), window(mean_alpha - (slope * mean).sum(dim=1, keepdim=True))], dim=1)


@pytest.mark.parametrize("grey", [False, True])
def test_the_fit_is_the_papers(grey):
    generator = torch.Generator().manual_seed(3)
    colours = torch.rand(2, 3, 40, 56, generator=generator).round()
    colours = colours[:, :1].expand(-1, 3, -1, -1) if grey else colours
    alpha = resize(torch.rand(2, 1, 5, 7, generator=generator), (40, 56))
    torch.testing.assert_close(edges.fit(alpha, colours, 4), reference(alpha, colours, 4).float(), atol=1e-4, rtol=0)


def draw(picture, alpha):
    colours = resize(picture.permute(2, 0, 1)[None], alpha.shape[1:])[0]
    return drawn_after(picture, alpha, colours, RADIUS)


def two_colours(mask):
    """A picture [H, W, 3] whose subject, mask [H, W] bool, has another colour than what is behind it, both uneven."""
    generator = torch.Generator().manual_seed(1)
    noise = 0.02 * torch.randn(*mask.shape, 3, generator=generator)
    return (torch.where(mask[..., None], torch.tensor([0.7, 0.3, 0.2]), torch.tensor([0.2, 0.4, 0.5])) + noise).clamp(
        0, 1
    )


def test_a_coarse_alpha_takes_the_pictures_edges():
    y, x = torch.meshgrid(torch.arange(240), torch.arange(320), indexing="ij")
    mask = (((x - 150) / 90) ** 2 + ((y - 110) / 60) ** 2 < 1) | ((x + y) % 40 < 12) & (y > 150)
    coarse = resize(mask[None, None].float(), (64, 96))
    coarse = F.avg_pool2d(coarse, 3, 1, 1, count_include_pad=False)  # a network's edges are not that sharp
    scaled = resize(coarse, mask.shape)[0, 0]
    drawn = draw(two_colours(mask), coarse[0])
    wrong = [(each - mask.float()).abs().mean().item() for each in (scaled, drawn)]
    assert wrong[0] > 0.05 and wrong[1] < 0.3 * wrong[0]
    assert drawn.min() >= 0 and drawn.max() <= 1 and drawn.shape == mask.shape


def test_where_the_picture_is_flat_alpha_is_smooth_and_finite():
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 20:40] = 1
    for value in (0.0, 0.5, 1.0):
        drawn = draw(torch.full((128, 128, 3), value), alpha)
        assert drawn.isfinite().all() and drawn[60, 64] > 0.5 > drawn[4, 64]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_and_everything_stay_so(value):
    picture = torch.rand(90, 70, 3, generator=torch.Generator().manual_seed(0))
    assert (draw(picture, torch.full((1, 64, 32), value)) == value).all()


def test_a_model_that_asks_for_it_gets_it_in_every_mode(model, photograph):
    images = torch.from_numpy(photograph)[None]
    drawing = MattingModel(model.network, replace(model.spec, edge_radius=RADIUS))
    plain, drawn = model.predict(images), drawing.predict(images)
    assert drawn.shape == plain.shape and drawn.dtype == torch.float32
    assert 0.005 < (drawn - plain).abs().mean() < 0.2
    torch.testing.assert_close(drawing.predict(images.float() / 255), drawn, atol=1e-5, rtol=0)
    both = torch.cat([images, images.flip(2)])
    torch.testing.assert_close(drawing.predict(both, batch_size=2)[:1], drawn, atol=1e-4, rtol=0)
    located = drawing.predict(images, mode="locate")
    assert located.shape == plain.shape and located.isfinite().all()
    small = drawing.predict(images[:, :20, :9], size=32)  # windows larger than what the network sees
    assert small.shape == (1, 20, 9) and small.isfinite().all()


def test_the_file_says_it(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(model.network.network, path, spec=replace(model.spec, edge_radius=5))
    assert load_model(path, device="cpu").spec.edge_radius == 5
    assert "drawn after the picture, 5 pixels" in str(inspect(path))
    save_model(model.network.network, path, spec=model.spec)
    assert load_model(path, device="cpu").spec.edge_radius == 0 and "drawn" not in str(inspect(path))
    for wrong in ("-1", "65", "eight"):
        save_model(model.network.network, path, spec=model.spec, extra={"edge_radius": wrong})
        with pytest.raises(ValueError, match=f"edge_radius '{wrong}', which is no number from 0 to 64"):
            load_model(path, device="cpu")


def test_a_recipe_says_it_within_bounds():
    assert read_recipe("train/recipes/finetune.toml", overrides={"init": "bundled", "edge_radius": 4}).edge_radius == 4
    for wrong in (-1, 65):
        with pytest.raises(ValueError, match=f"edge_radius must be 0 to 64 pixels, not {wrong}"):
            read_recipe("train/recipes/bundled.toml", overrides={"edge_radius": wrong})


@pytest.mark.parametrize("own", [0, RADIUS])
def test_edges_are_drawn_by_choice_for_any_model(model, photograph, own):
    picture = torch.from_numpy(photograph)[None]
    chosen = MattingModel(model.network, replace(model.spec, edge_radius=own))
    off, drawn = (chosen.predict(picture, edges=edges) for edges in ("off", "drawn"))
    plain = MattingModel(model.network, replace(model.spec, edge_radius=0)).predict(picture)
    fitted = MattingModel(model.network, replace(model.spec, edge_radius=own or 6)).predict(picture)
    assert torch.equal(off, plain) and torch.equal(drawn, fitted) and not torch.equal(off, drawn)
    assert torch.equal(chosen.predict(picture), drawn if own else off)
    wide = MattingModel(model.network, replace(model.spec, edge_radius=12)).predict(picture)
    assert torch.equal(chosen.predict(picture, edges="drawn", edge_radius=12), wide)
    assert torch.equal(chosen.predict(picture, edge_radius=12), wide if own else off)  # auto draws where the model does


@pytest.mark.parametrize("options", [{"edges": "sharp"}, {"edge_radius": 0}, {"edge_radius": 65}, {"edge_radius": 1.5}])
def test_edges_there_are_not_are_refused(model, photograph, options):
    with pytest.raises(ValueError, match="edge"):
        model.predict(torch.from_numpy(photograph)[None], **options)


def test_a_radius_that_does_nothing_is_known():
    assert "edges are off: choose edges drawn" in idle_radius("off", 5, 4)
    assert "of 5 does nothing, since the model draws no edges by itself" in idle_radius("auto", 5, 0)
    assert not any(
        idle_radius(*case) for case in [("off", None, 4), ("auto", None, 0), ("auto", 5, 4), ("drawn", 5, 0)]
    )
