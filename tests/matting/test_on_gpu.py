"""A GPU gives the CPU's mattes. `make test-gpu` runs these and those of training."""

from pathlib import Path

import pytest
import torch

import birefnet_core
from birefnet_core.matting.images import read
from birefnet_core.network import build_network
from birefnet_core.network.deformable import deformable_conv2d
from birefnet_core.video.matte import matte_clip
from birefnet_core.video.read import Clip, Span

DEMO = Path(__file__).parents[2] / "demo"
NARROW = {"block_channels": 16, "branch_channels": 16, "inward_channels": 8}


@pytest.fixture(scope="module")
def photographs():
    pixels = read(DEMO / "photograph.jpg").pixels
    return torch.stack([pixels[:480, left : left + 480] for left in (0, 100, 200)])


def largest_difference(ours, theirs):
    return (ours.float().cpu() - theirs.float().cpu()).abs().max().item()


@pytest.mark.parametrize("mode", ["whole", "locate"])
@pytest.mark.parametrize("dtype, close", [("float32", 1e-3), ("float16", 0.03), ("bfloat16", 0.15)])
def test_mattes_are_those_of_a_cpu(gpu, photographs, dtype, close, mode):
    expected = birefnet_core.load_model("bundled", device="cpu", dtype="float32").predict(photographs, mode=mode)
    model = birefnet_core.load_model("bundled", device=gpu, dtype=dtype)
    alpha = model.predict(photographs, mode=mode)
    assert alpha.device.type == "cpu" and 0.05 < alpha.mean() < 0.95
    assert largest_difference(alpha, expected) < close
    there = model.predict(photographs.to(gpu), mode=mode, batch_size=1)
    assert there.device.type == gpu and largest_difference(there, expected) < close


@pytest.mark.parametrize("backbone", ["swin_v1_t", "pvt_v2_b0", "resnet50", "vgg16bn", "dino_v3_s"])
@torch.no_grad()
def test_every_family_gives_the_logits_of_a_cpu(gpu, backbone):
    torch.manual_seed(0)
    network = build_network(backbone, **NARROW).eval()
    images = torch.randn(2, 3, 128, 96)
    expected = network(images)
    logits = network.to(gpu)(images.to(gpu))
    assert largest_difference(logits, expected) < 1e-3 * expected.abs().max().item()
    assert torch.isfinite(network.half()(images.to(gpu).half())).all()


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_deformable_convolutions_and_their_gradients_are_those_of_a_cpu(gpu, kernel):
    torch.manual_seed(kernel)
    taps = kernel * kernel
    shapes = (2, 3, 24, 20), (2, 2 * taps, 24, 20), (2, taps, 24, 20), (4, 3, kernel, kernel)
    values = [torch.randn(shape) for shape in shapes]

    def run(device):
        given = [value.to(device).requires_grad_() for value in values]
        output = deformable_conv2d(*given)
        output.square().sum().backward()
        with torch.no_grad():
            plain = deformable_conv2d(*given)
        return [output.detach(), plain, *(value.grad for value in given)]

    for ours, theirs in zip(run(gpu), run("cpu")):
        assert largest_difference(ours, theirs) < 1e-4 * max(1, theirs.abs().max().item())


def test_the_foreground_is_that_of_a_cpu(gpu, photographs):
    alpha = birefnet_core.load_model("bundled", device="cpu", dtype="float32").predict(photographs)
    ours = birefnet_core.estimate_foreground(photographs.to(gpu), alpha.to(gpu))
    assert ours.device.type == gpu
    assert largest_difference(ours, birefnet_core.estimate_foreground(photographs, alpha)) < 1e-3


def test_memory_that_does_not_suffice_is_said(gpu, photographs):
    if gpu == "cpu":
        pytest.skip("a CPU swaps instead")
    model = birefnet_core.load_model("bundled", device=gpu, dtype="float32")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        with pytest.raises(
            torch.cuda.OutOfMemoryError, match=r"for one 480 x 480 picture at the model size 8192 x 8192"
        ):
            model.predict(photographs, size=8192)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert model.predict(photographs).shape == (3, 480, 480)


def test_a_clip_is_matted(gpu, tmp_path):
    model = birefnet_core.load_model("bundled", device=gpu, dtype="auto")
    clip = Clip(DEMO / "clip.mp4")
    out = matte_clip(clip, tmp_path / "out.mp4", model.predict, format="mask", size=(416, 416), span=Span(count=6))
    assert Clip(out).info.frames == 6
