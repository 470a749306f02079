import copy
import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from birefnet_core.matting import MattingModel, edges
from birefnet_core.matting.model import drawn_after

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
TWO_LEVELS = 2 / 255


class Memory(nn.Module):
    """A device that holds so many pictures at a time: the real network, and the real error above the limit."""

    def __init__(self, network, limit, error=None):
        super().__init__()
        self.network, self.limit = network, limit
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.batches = []
        self.eval()

    def forward(self, x):
        self.batches.append(len(x))
        if len(x) > self.limit:
            raise self.error
        return self.network(x)


def as_float(photograph):
    return torch.from_numpy(photograph).float() / 255


@pytest.fixture(scope="module")
def images(photograph):
    """Five different small crops, float32 [5, 60, 80, 3]."""
    picture = as_float(photograph)
    return torch.stack([picture[60 * i : 60 * i + 60, 80 * i : 80 * i + 80] for i in range(5)])


def reference_alpha(network, picture, size):
    """The reference pipeline, a picture at a time: Pillow in, sigmoid, Pillow out."""
    seen = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    x = (torch.from_numpy(seen).float() / 255 - MEAN) / STD
    with torch.no_grad():
        alpha = network(x.permute(2, 0, 1)[None]).sigmoid()[0, 0]
    height, width = picture.shape[:2]
    return torch.from_numpy(np.array(Image.fromarray(alpha.numpy()).resize((width, height), Image.Resampling.BILINEAR)))


def mean_difference(a, b):
    return (a - b).abs().mean().item()


@pytest.mark.parametrize("size", [(128, 96), (256, 256), (96, 160), (640, 448)])
def test_agrees_with_the_reference_pipeline(model, photograph, size):
    expected = reference_alpha(model.network, photograph, size)
    assert expected.std() > 0.1  # there is something to agree about
    assert mean_difference(1 - expected, expected) > 10 * TWO_LEVELS
    for images in (as_float(photograph)[None], torch.from_numpy(photograph)[None]):
        alpha = model.predict(images, size=size)
        assert alpha.shape == (1, *photograph.shape[:2])
        assert mean_difference(alpha[0], expected) <= TWO_LEVELS


def test_a_picture_smaller_than_the_model_agrees_too(model, photograph):
    small = np.array(Image.fromarray(photograph).resize((75, 50), Image.Resampling.LANCZOS))
    expected = reference_alpha(model.network, small, (128, 96))
    assert mean_difference(model.predict(torch.from_numpy(small)[None])[0], expected) <= TWO_LEVELS


def test_the_spec_gives_size_and_normalisation(model, photograph):
    seen = []
    hook = model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model.predict(as_float(photograph)[None])
        model.predict(as_float(photograph)[None], size=(70, 50))
        model.predict(as_float(photograph)[None], size=64)
        MattingModel(model.network, replace(model.spec, size=None)).predict(as_float(photograph)[None, :, :300])
    finally:
        hook.remove()
    assert [tuple(x.shape) for x in seen] == [(1, 3, 96, 128), (1, 3, 64, 64), (1, 3, 64, 64), (1, 3, 352, 288)]
    channel_means = seen[0].mean(dim=(0, 2, 3)) * STD + MEAN
    torch.testing.assert_close(channel_means, as_float(photograph).mean(dim=(0, 1)), atol=2e-3, rtol=0)


def test_every_image_of_a_batch_gets_its_own_alpha_however_it_is_split(model, images):
    alone = torch.cat([model.predict(image[None]) for image in images])
    assert alone.shape == (5, 60, 80)
    assert alone.dtype == torch.float32
    assert alone.min() >= 0
    assert alone.max() <= 1
    assert mean_difference(alone[0], alone[1]) > 0.01
    for batch_size in (None, 1, 2, 5, 100):
        torch.testing.assert_close(model.predict(images, batch_size=batch_size), alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_float_types_of_pictures(model, images, dtype):
    converted = images[:2].to(dtype)
    alpha = model.predict(converted)
    assert alpha.dtype == torch.float32
    assert torch.equal(alpha, model.predict(converted.float()))


def test_uint8_means_255(model, images):
    levels = (images[:2] * 255).round()
    alpha = model.predict(levels.to(torch.uint8))
    torch.testing.assert_close(alpha, model.predict(levels / 255), atol=1e-5, rtol=0)


def test_the_fourth_channel_is_ignored(model, images):
    rgba = torch.cat([images[:2], torch.full_like(images[:2, ..., :1], torch.nan)], dim=-1)
    assert torch.equal(model.predict(rgba), model.predict(images[:2]))


def test_overshoot_is_clamped(model, images):
    overshot = images[3:4] * 1.8 - 0.4
    assert overshot.min() < 0 < 1 < overshot.max()
    assert torch.equal(model.predict(overshot), model.predict(overshot.clamp(0, 1)))


def test_a_half_precision_network(model, images):
    network = copy.deepcopy(model.network).to(torch.bfloat16)
    alpha = MattingModel(network, model.spec).predict(images[:1])
    assert alpha.dtype == torch.float32
    assert mean_difference(alpha, model.predict(images[:1])) < 0.1


def test_no_images_give_an_empty_result(model):
    calls = []
    alpha = model.predict(torch.empty(0, 7, 9, 3), on_progress=lambda *call: calls.append(call))
    assert alpha.shape == (0, 7, 9)
    assert alpha.dtype == torch.float32
    assert calls == []


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 50, 3), (1, 50, 1, 4)])
def test_the_smallest_pictures(model, shape):
    alpha = model.predict(torch.full(shape, 0.5))
    assert alpha.shape == shape[:3]
    assert alpha.isfinite().all()


def test_inputs_and_network_stay_as_they_are(model, images):
    for given in (images[:2].clone(), (images[:2] * 3 - 1).clamp(-0.5, 1.5), (images[:2] * 255).to(torch.uint8)):
        before = given.clone()
        state = {name: value.clone() for name, value in model.network.state_dict().items()}
        model.predict(given)
        assert torch.equal(given, before)
        assert all(torch.equal(value, state[name]) for name, value in model.network.state_dict().items())


def test_strided_views_and_gradients(model, images):
    flipped = images.flip(2)
    view = torch.cat([flipped, flipped], dim=-1)[:2, :, ::2, 1:4]
    assert not view.is_contiguous()
    wanted = model.predict(view.contiguous())
    assert torch.equal(model.predict(view), wanted)
    alpha = model.predict(view.clone().requires_grad_())
    assert not alpha.requires_grad


def test_result_is_an_ordinary_tensor_unless_the_caller_is_in_inference_mode(model, images):
    alpha = model.predict(images[:1])
    assert not alpha.is_inference()
    weight = torch.ones((), requires_grad=True)
    (alpha * weight).sum().backward()
    assert weight.grad > 0
    with torch.inference_mode():
        assert torch.equal(model.predict(images[:1].clone()), alpha)
    assert torch.equal(model.predict(images[:1]), alpha)  # nothing made in inference mode is left in the network


def test_progress_counts_pictures(model, images):
    calls = []
    model.predict(images, batch_size=2, on_progress=lambda *call: calls.append(call))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_progress_may_stop_the_work(model, images):
    class Interrupted(RuntimeError):
        pass

    network = Memory(model.network, limit=9)

    def stop(done, total):
        if done == 2:
            raise Interrupted("out of memory")  # not ours to swallow

    with pytest.raises(Interrupted):
        MattingModel(network, model.spec).predict(images, batch_size=1, on_progress=stop)
    assert network.batches == [1, 1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.70 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Could not allocate tensor with 4 bytes. There is not enough GPU video memory available!"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(model, images, error):
    network = Memory(model.network, limit=1, error=error)
    calls = []
    alpha = MattingModel(network, model.spec).predict(
        images, batch_size=4, on_progress=lambda *call: calls.append(call)
    )
    assert network.batches == [4, 2, 1, 1, 1, 1, 1]
    assert calls == [(done, 5) for done in range(1, 6)]
    torch.testing.assert_close(alpha, model.predict(images), atol=1e-4, rtol=0)


def test_out_of_memory_with_one_picture_says_what_to_lower(model, images):
    network = Memory(model.network, limit=0)
    with pytest.raises(torch.OutOfMemoryError, match="80 x 60 picture at the model size 128 x 96: choose a smaller"):
        MattingModel(network, model.spec).predict(images, batch_size=4)
    assert network.batches == [4, 2, 1]


def test_out_of_memory_on_the_way_back_says_what_helps(model, images, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(edges, "without_haze", full)
    with pytest.raises(torch.OutOfMemoryError, match="or scale the picture down"):
        MattingModel(model.network, replace(model.spec, edge_radius=4)).predict(images[:1])


class Greedy(nn.Module):
    """A network that asks for more memory than any address space has."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x + x.new_empty(2**46)  # 256 TiB


def test_the_allocators_own_error_is_recognised(model, images):
    with pytest.raises(torch.OutOfMemoryError, match="model size 128 x 96"):
        MattingModel(Greedy().eval(), model.spec).predict(images[:1])


def test_other_errors_of_the_network_are_not_taken_for_memory(model, images):
    network = Memory(model.network, limit=0, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        MattingModel(network, model.spec).predict(images, batch_size=4)
    assert network.batches == [4]


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor any operation made, but for views of images and the result."""

    def __init__(self, images):
        super().__init__()
        self.given, self.result_shape, self.bytes = images.untyped_storage().data_ptr(), images.shape[:3], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if not isinstance(value, torch.Tensor) or value.shape == self.result_shape:
                continue
            if value.untyped_storage().data_ptr() != self.given:
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return result


def test_what_is_sparse_is_named(model):
    with pytest.raises(ValueError, match=r"^images must be a plain tensor, not one of the layout torch\.sparse_coo$"):
        model.predict(torch.zeros(1, 4, 4, 3).to_sparse())
    with pytest.raises(ValueError, match=r"^a hint must be a plain tensor, not one of the layout torch\.sparse_coo$"):
        model.predict(torch.zeros(1, 4, 4, 3), hint=torch.ones(1, 4, 4).to_sparse())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_memory_does_not_grow_with_the_number_of_images(model, dtype):
    network = nn.Conv2d(3, 1, 1).eval()  # the real one only adds what it needs for a batch

    def measured(count):
        images = torch.zeros(count, 64, 80, 3, dtype=dtype)
        live = []

        def watch(done, total):
            if done in (2, total):
                live.append(live_bytes())

        with LargestTensor(images) as largest:
            MattingModel(network, model.spec).predict(images, batch_size=2, on_progress=watch)
        return largest.bytes, live

    few, _ = measured(2)
    many, live = measured(64)
    assert few == 2 * 96 * 128 * 3 * 4  # the network's input
    assert many == few  # no operation handled more than one batch
    after_first, after_last = live
    assert after_last <= after_first  # and nothing was kept


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_edges_are_drawn_without_a_copy_of_the_picture(dtype):
    picture = torch.zeros(1, 300, 400, 4, dtype=dtype)
    with LargestTensor(picture) as largest:
        drawn_after(picture[0], torch.zeros(1, 64, 64), torch.zeros(3, 64, 64), radius=4)
    assert largest.bytes == 300 * 400 * 4  # one channel


def live_bytes():
    gc.collect()
    storages = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for value in gc.get_objects()
        if type(value) is torch.Tensor
    }
    return sum(storages.values())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), r"must be a tensor \[B, H, W, 3\], not ndarray"),
        (None, "must be a tensor .* not NoneType"),
        (torch.zeros(4, 4, 3), r"not \[4, 4, 3\]: add a batch dimension"),
        (torch.zeros(4, 4), r"not \[4, 4\]"),
        (torch.zeros(1, 1, 4, 4, 3), r"not \[1, 1, 4, 4, 3\]"),
        (torch.zeros(1, 4, 4, 1), r"not \[1, 4, 4, 1\]"),
        (torch.zeros(1, 4, 4, 5), r"not \[1, 4, 4, 5\]"),
        (torch.zeros(1, 3, 40, 50), r"not \[1, 3, 40, 50\]: move the channels last"),
        (torch.zeros(1, 0, 4, 3), r"at least one pixel a side, not \[1, 0, 4, 3\]"),
        (torch.zeros(1, 4, 0, 3), r"at least one pixel a side, not \[1, 4, 0, 3\]"),
        (torch.zeros(0, 4, 0, 3), r"at least one pixel a side"),
        (torch.stack([torch.zeros(4, 4, 3), torch.full((4, 4, 3), torch.nan)]), r"images\[1\] has NaN"),
        (torch.full((1, 4, 4, 3), torch.inf), r"images\[0\] has NaN or infinite"),
        (torch.full((1, 4, 4, 3), -torch.inf, dtype=torch.float16), r"images\[0\] has NaN or infinite"),
        (torch.empty(1, 4, 4, 3, device="meta"), "images must be a plain tensor, not one on the device meta"),
        (torch.full((1, 4, 4, 3), 255.0), r"images\[0\] goes up to 255, which looks like 0..255: divide by 255"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.int64), "not torch.int64"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.bool), "not torch.bool"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.complex64), "not torch.complex64"),
    ],
)
def test_what_cannot_be_matted_is_named_in_one_sentence(model, images, message):
    with pytest.raises(ValueError, match=message) as raised:
        model.predict(images)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "find"}, "mode must be one of whole, locate, detail, not 'find'"),
        ({"size": 0}, "size must be .* not 0"),
        ({"size": (64, -64)}, "size must be"),
        ({"batch_size": 0}, "batch_size must be a positive integer or None, not 0"),
        ({"batch_size": 1.5}, "batch_size must be"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.predict(torch.zeros(1, 4, 4, 3), **arguments)


def test_a_network_in_training_mode_is_refused(model):
    network = copy.deepcopy(model.network).train()
    with pytest.raises(ValueError, match=r"training mode: call network\.eval"):
        MattingModel(network, model.spec).predict(torch.zeros(1, 4, 4, 3))
    assert network.training


def test_a_network_that_gives_nan_is_an_error_and_no_picture(model):
    class Broken(Memory):
        def forward(self, x):
            return F.avg_pool2d(super().forward(x), 1) * torch.nan

    with pytest.raises(ArithmeticError, match="the network gave NaN in float32"):
        MattingModel(Broken(model.network, limit=9), model.spec).predict(torch.zeros(1, 4, 4, 3))
