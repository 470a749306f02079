"""Segment without ComfyUI: shapes, types, odd pictures, memory, interrupts, foreign models, errors."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

PHOTOGRAPH = Path(__file__).parents[2] / "demo" / "photograph.jpg"

SIZE = (128, 96)


class Spread(nn.Module):
    """A narrow network with random weights whose alpha spans 0..1. Counts its passes; runs out of memory above
    `fits` pictures."""

    def __init__(self, network: nn.Module, fits: int = 99) -> None:
        super().__init__()
        self.network = network
        self.fits = fits
        self.passes = []

    def forward(self, x):
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.passes.append(tuple(x.shape))
        return (self.network(x) + 0.11) * 40


class Stopped(BaseException):
    """As ComfyUI's InterruptProcessingException."""


class Native:
    """As ComfyUI's own loader gives: `encode_image` alone, [B,H,W,3] float32 -> [B,H,W]."""

    def __init__(self):
        self.seen = []

    def encode_image(self, image):
        self.seen.append((tuple(image.shape), image.dtype))
        return image.mean(-1) * 1.5


class NewerNative(Native):
    def encode_image(self, image, resolution=None):
        self.resolution = resolution
        return super().encode_image(image)


class TodaysNative(Native):
    def encode_image(self, image, image_size=None):
        self.resolution = image_size
        return super().encode_image(image)


class TwoMasks:
    def encode_image(self, image):
        return torch.ones(2, 9, 9)


class SizedNative(Native):
    """As up to ComfyUI 0.33: a size of its own that no argument changes."""

    image_size = 1024

    def encode_image(self, image):
        self.seen.append(self.image_size)
        return image.mean(-1)


@pytest.fixture(scope="module")
def network(module):
    torch.manual_seed(1)
    build = module("birefnet_core.network").build_network
    return build("timm:tf_efficientnet_lite0", block_channels=16, branch_channels=16, inward_channels=8).eval()


@pytest.fixture
def make(module, network):
    """make(fits=..., size=...) -> the model as Load BiRefNet gives it, around a new Spread."""

    def make(fits: int = 99, size: tuple[int, int] | None = SIZE):
        spec = module("birefnet_core.weights.catalog").ModelSpec("narrow", "timm:tf_efficientnet_lite0", size)
        matting = module("birefnet_core.matting.model").MattingModel(Spread(network, fits).eval(), spec)
        return module("nodes.managed").ManagedModel(matting, torch.device("cpu"))

    return make


@pytest.fixture
def model(make):
    return make()


@pytest.fixture
def segment(node):
    return node("BiRefNetSegment")().segment


def passes(model) -> list[tuple[int, ...]]:
    return model.managed.model.passes


@pytest.fixture
def interrupt_at(module, monkeypatch):
    """interrupt_at(n): the user presses stop while image n is on its way."""

    def interrupt_at(model, count: int) -> None:
        def check() -> None:
            if len(passes(model)) >= count:
                raise Stopped

        monkeypatch.setattr(module("nodes.host"), "check_interrupt", check)

    return interrupt_at


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count, height, width", [(1, 60, 90), (3, 33, 47), (1, 1, 1), (2, 1, 50), (1, 50, 1)])
def test_masks_have_the_images_shape(segment, model, channels, dtype, count, height, width):
    image = torch.rand(count, height, width, channels).to(dtype)
    kept = image.clone()
    mask, inverted = segment(model, image)
    assert mask.shape == inverted.shape == (count, height, width)
    assert mask.dtype == inverted.dtype == torch.float32
    assert mask.device == image.device
    assert mask.min() >= 0 and mask.max() <= 1
    assert torch.equal(mask + inverted, torch.ones_like(mask))
    assert torch.equal(image, kept)


def test_a_fourth_channel_is_ignored(segment, model):
    image = torch.rand(1, 40, 60, 4)
    assert torch.equal(segment(model, image)[0], segment(model, image[..., :3])[0])


@pytest.mark.parametrize("value", [0.0, 1.0, -0.02, 1.05])
def test_flat_images_have_finite_masks(segment, model, value):
    mask, _ = segment(model, torch.full((1, 30, 40, 3), value))
    assert mask.isfinite().all() and mask.min() >= 0 and mask.max() <= 1


def test_no_images_give_no_masks(segment, model):
    assert segment(model, torch.zeros(0, 20, 30, 3))[0].shape == (0, 20, 30)


def test_masks_of_a_batch_are_those_of_its_images(segment, model):
    images = torch.rand(4, 40, 60, 3)
    together, _ = segment(model, images, batch_size=4)
    alone = torch.cat([segment(model, image[None])[0] for image in images])
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.std() > 0.05


@pytest.mark.parametrize(
    "width, height, seen", [(0, 0, (96, 128)), (64, 0, (64, 64)), (0, 160, (160, 160)), (192, 64, (64, 192))]
)
def test_zero_stands_for_the_models_own_size(segment, model, width, height, seen):
    segment(model, torch.rand(1, 50, 50, 3), width=width, height=height)
    assert passes(model) == [(1, 3, *seen)]


def test_a_dynamic_model_takes_the_images_own_size(segment, make):
    model = make(size=None)
    segment(model, torch.rand(1, 300, 260, 3))
    assert passes(model) == [(1, 3, 288, 256)]


@pytest.mark.parametrize("size, far", [((128, 96), False), ((160, 96), False), ((64, 64), True), ((256, 256), True)])
def test_a_size_far_from_the_models_own_is_told(segment, model, caplog, size, far):
    with caplog.at_level("WARNING", "birefnet-suite"):
        segment(model, torch.rand(1, 50, 50, 3), *size)
    assert (f"narrow runs at {size[0]} x {size[1]} but was trained for 128 x 96" in caplog.text) == far


def test_a_far_size_is_told_once_a_run(segment, model, module, monkeypatch):
    said = []
    for run in ("first", "first", "second"):
        monkeypatch.setattr(module("nodes.host"), "running", lambda run=run: run)
        monkeypatch.setattr(module("nodes.host"), "say", lambda text, level, run=run: said.append(run))
        segment(model, torch.rand(1, 50, 50, 3), 64, 64)
    assert said == ["first", "second"]


def test_out_of_memory_halves_the_batch_and_goes_on(segment, make):
    images = torch.rand(5, 40, 60, 3)
    expected, _ = segment(make(), images)
    model = make(fits=1)
    mask, _ = segment(model, images, batch_size=4)
    assert torch.allclose(mask, expected, atol=1e-5)
    assert [shape[0] for shape in passes(model)] == [1] * 5


@pytest.mark.parametrize("count, batch_size, pictures", [(5, 0, 1), (5, 4, 4), (2, 4, 2), (0, 0, 1)])
def test_room_is_asked_for_what_one_pass_needs(segment, model, module, monkeypatch, count, batch_size, pictures):
    """Other models make room for it: an automatic batch must not send them away for more than one image."""
    host, asked = module("nodes.host"), []
    load = host.load
    monkeypatch.setattr(host, "load", lambda managed, activations=0: asked.append(activations) or load(managed))
    segment(model, torch.rand(count, 40, 60, 3), batch_size=batch_size)
    activation_bytes = module("birefnet_core.matting.model").activation_bytes
    assert asked == [pictures * activation_bytes(SIZE, next(model.managed.model.parameters()))]
    if count:  # with hints the pictures go one by one
        segment(model, torch.rand(count, 40, 60, 3), batch_size=batch_size, hint=torch.ones(1, 40, 60))
        assert asked[1] == asked[0] / pictures


def test_an_image_too_large_for_memory_says_what_to_do(segment, make):
    with pytest.raises(torch.OutOfMemoryError, match="choose a smaller size"):
        segment(make(fits=0), torch.rand(2, 40, 60, 3))


def test_stop_is_obeyed_within_one_image(segment, model, interrupt_at):
    interrupt_at(model, 2)
    with pytest.raises(Stopped):
        segment(model, torch.rand(5, 40, 60, 3))
    assert len(passes(model)) == 2


def test_stop_before_the_first_image(segment, model, interrupt_at):
    interrupt_at(model, 0)
    with pytest.raises(Stopped):
        segment(model, torch.rand(5, 40, 60, 3))
    assert passes(model) == []


def test_a_model_of_comfyuis_own_loader_works(segment):
    native = Native()
    image = torch.rand(3, 20, 30, 4, dtype=torch.float16)
    mask, inverted = segment(native, image)
    assert native.seen == [((1, 20, 30, 3), torch.float32)] * 3
    assert mask.dtype == torch.float32 and torch.equal(inverted, 1 - mask)
    assert torch.allclose(mask, (image[..., :3].float().mean(-1) * 1.5).clamp(0, 1))


def test_a_foreign_model_sees_bytes_as_0_to_1(module):
    image = torch.full((1, 20, 30, 3), 102, dtype=torch.uint8)
    alpha = module("nodes.managed").ForeignModel(Native()).predict(image)
    assert torch.allclose(alpha, torch.full((1, 20, 30), 102 / 255 * 1.5))


def test_a_foreign_mask_of_another_size_is_fitted(segment):
    class Coarse(Native):
        def encode_image(self, image):
            return torch.full((1, 1, 8, 8), 0.25)

    assert torch.allclose(segment(Coarse(), torch.rand(2, 20, 30, 3))[0], torch.full((2, 20, 30), 0.25))


def test_stop_is_obeyed_between_the_images_of_a_foreign_model(segment, module, monkeypatch):
    native = Native()

    def check() -> None:
        if len(native.seen) == 2:
            raise Stopped

    monkeypatch.setattr(module("nodes.host"), "check_interrupt", check)
    with pytest.raises(Stopped):
        segment(native, torch.rand(4, 20, 30, 3))
    assert len(native.seen) == 2


@pytest.mark.parametrize("kind", [NewerNative, TodaysNative])
def test_a_native_model_takes_a_square_size_by_whatever_name(segment, kind):
    native = kind()
    segment(native, torch.rand(1, 20, 30, 3), width=512)
    assert native.resolution == 512
    segment(native, torch.rand(1, 20, 30, 3))
    assert native.resolution is None


def test_a_native_model_that_takes_no_size_runs_at_it_and_stays_as_it_was(segment):
    native = SizedNative()
    for width in (512, 0):
        segment(native, torch.rand(1, 20, 30, 3), width=width)
    assert native.seen == [512, 1024]


@pytest.mark.parametrize(
    "options, size, words",
    [
        ({}, (128, 96), None),
        ({"image_size": None, "resolution": None}, (128, 96), None),
        ({"image_size": 1024}, (128, 96), "narrow runs at 128 x 96, its own size: 1024 means"),
        ({"resolution": 1024}, (128, 96), "narrow runs at 128 x 96, its own size: 1024 means"),
        ({"image_size": 160}, (160, 160), "narrow runs at 160 x 160, as asked for"),
        ({"resolution": 150}, (160, 160), "narrow runs at 160 x 160, as asked for"),
        ({"upscale": None}, (128, 96), None),
        ({"upscale": "bicubic"}, (128, 96), "does not know upscale='bicubic' and goes on without"),
        ({"image_size": 160, "half": True}, (160, 160), "as asked for; this pack does not know half=True"),
    ],
)
def test_what_remove_background_asks_for(model, module, monkeypatch, options, size, words):
    """Every way in which a version of ComfyUI's own node calls, the size it takes, and the word about it."""
    said = []
    monkeypatch.setattr(module("nodes.host"), "say", lambda text, *level: said.append(text))
    image = torch.rand(2, 40, 60, 3)
    mask = model.encode_image(image, **options)
    assert {shape[2:] for shape in passes(model)} == {size[::-1]}
    assert torch.equal(mask, model.predict(image, size))
    assert [words in text for text in said] == [True] if words else said == []


def test_a_native_size_of_1024_is_no_surprise_to_a_model_of_1024(make, module, monkeypatch):
    said = []
    monkeypatch.setattr(module("nodes.host"), "say", lambda text, *level: said.append(text))
    model = make(size=(1024, 1024))
    assert model.encode_image(torch.rand(1, 20, 30, 3), image_size=1024).shape == (1, 20, 30)
    assert passes(model) == [(1, 3, 1024, 1024)] and said == []


@pytest.mark.parametrize(
    "model, options, words",
    [
        (Native(), {"width": 512, "height": 512}, "cannot run at 512 x 512: leave the size at 0"),
        (NewerNative(), {"width": 512, "height": 256}, "cannot run at 512 x 256"),
        (TwoMasks(), {}, "the model gave 2 masks for 1 image"),
        (TwoMasks(), {"edges": "drawn"}, "the model gave 2 masks for 1 image"),
        (Native(), {"mode": "locate"}, "load the file with Load BiRefNet"),
        ("a string", {}, "str is not a background-removal model: connect Load BiRefNet"),
    ],
)
def test_what_a_foreign_model_cannot_do_is_said(segment, model, options, words):
    with pytest.raises(ValueError, match=words):
        segment(model, torch.rand(1, 20, 30, 3), **options)


@pytest.mark.parametrize(
    "image, words",
    [
        (torch.rand(20, 30, 3), r"not \[20, 30, 3\]"),
        (torch.rand(1, 3, 20, 30), "channels last"),
        (torch.rand(1, 20, 30, 2), r"not \[1, 20, 30, 2\]"),
        (torch.rand(1, 20, 30, 3) * 255, "looks like 0..255"),
        (torch.full((1, 20, 30, 3), float("nan")), "NaN"),
        (torch.zeros(1, 0, 30, 3), "at least one pixel"),
    ],
)
@pytest.mark.parametrize("foreign", [False, True])
def test_wrong_images_are_refused_in_one_sentence(segment, model, image, words, foreign):
    with pytest.raises(ValueError, match=words) as error:
        segment(Native() if foreign else model, image)
    assert "\n" not in str(error.value)
    assert passes(model) == []


def test_locate_looks_again(segment, model, module):
    image = torch.zeros(1, 200, 300, 3)
    image[:, 90:120, 140:180] = 1
    mask, _ = segment(model, image, mode="locate")
    assert mask.shape == (1, 200, 300)
    matting = module("birefnet_core.matting.model").MattingModel(model.managed.model, model.spec)
    assert torch.equal(mask, matting.predict(image, mode="locate"))


def test_detail_looks_at_the_images_own_pixels(segment, model, module):
    image = torch.zeros(1, 400, 600, 3)
    image[:, 90:320, 140:380] = 1
    image[:, 100:300:4, 150:370:4] = 0
    mask, _ = segment(model, image, mode="detail")
    matting = module("birefnet_core.matting.model").MattingModel(model.managed.model, model.spec)
    assert torch.equal(mask, matting.predict(image, mode="detail"))
    assert not torch.equal(mask, matting.predict(image))


@pytest.fixture
def make_compiled(make, module, monkeypatch):
    """make_compiled(backend) -> a model under torch.compile. Its real backend takes minutes for a new size."""

    def make_compiled(backend):
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
        eager = make()
        matting = module("birefnet_core.matting.model").MattingModel(eager.managed.model, eager.spec)
        return module("nodes.managed").ManagedModel(matting, torch.device("cpu"), compiled=True)

    yield make_compiled
    torch._dynamo.reset()


def test_a_compiled_model_gives_the_same_masks(segment, make, make_compiled):
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    image = torch.rand(1, 40, 60, 3)
    compiled, _ = segment(make_compiled(backend), image)
    assert traced
    assert torch.allclose(compiled, segment(make(), image)[0], atol=1e-5)


def test_where_nothing_can_be_compiled_it_says_to_switch_it_off(segment, make_compiled):
    def backend(graph, inputs):
        raise OSError("no compiler found")

    with pytest.raises(RuntimeError, match=r"torch\.compile does not work here, switch compile off: .*no compiler"):
        segment(make_compiled(backend), torch.rand(1, 40, 60, 3))


def test_an_unknown_mode_is_refused(segment, model):
    with pytest.raises(ValueError, match="mode must be"):
        segment(model, torch.rand(1, 20, 30, 3), mode="else")


def test_edges_and_detail_for_models_of_other_loaders(module, caplog):
    """As of our own: the same network behind `encode_image` at the same size gives nearly the same edges."""
    image = module("birefnet_core.matting.images").read(PHOTOGRAPH).pixels[None, ::2, ::2]
    own = module("birefnet_core.matting.load").load_model("bundled", device="cpu")

    class Foreign:
        image_size = 416

        def encode_image(self, image):
            return own.predict(image, edges="off")

    segment = module("nodes.segment").Segment()
    plain = segment.segment(Foreign(), image)[0]
    segment.segment(Foreign(), image, edge_radius=6)
    assert "an edge radius of 6 does nothing, since the model draws no edges by itself" in caplog.text
    caplog.clear()
    drawn = segment.segment(Foreign(), image, edges="drawn", edge_radius=6)[0]
    assert "does nothing" not in caplog.text
    expected = own.predict(image)
    assert torch.equal(plain, own.predict(image, edges="off"))
    assert (drawn - expected).abs().mean() < 0.3 * (plain - expected).abs().mean()
    image = image.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)  # as large as there is something to gain
    plain, found = (segment.segment(Foreign(), image, mode=mode)[0] for mode in ("whole", "detail"))
    assert torch.equal(found, own.predict(image, mode="detail", edges="off")) and not torch.equal(found, plain)
