"""A network that takes a hint is the network it was until the hint is trained, to the last bit."""

import pytest
import torch

from birefnet_core.network import build_network
from birefnet_core.network.hint import HintedConv, hint_weights
from birefnet_core.weights.published import export_published, load_published

NARROW = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4, "dropout": 0.0}
PUBLISHED = [
    *("swin_v1_t", "swin_v1_s", "swin_v1_b", "swin_v1_l", "pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2", "pvt_v2_b5"),
    *("resnet50", "vgg16", "vgg16bn", "dino_v3_s", "dino_v3_s_plus"),
]
OF_TIMM = ["tf_efficientnet_lite0", "repvgg_a0", "eca_nfnet_l0", "convnext_atto", "swin_tiny_patch4_window7_224"]


def pair(backbone, **changes):
    """A network, and one of the same weights that takes a hint."""
    torch.manual_seed(0)
    plain = build_network(backbone, **NARROW, **changes).eval()
    hinted = build_network(backbone, **NARROW, **changes, hint=True).eval()
    load_published(hinted, export_published(plain))
    return plain, hinted


def learnt(network):
    """Its weights of the hint as training might leave them."""
    with torch.no_grad():
        for weight in hint_weights(network):
            weight.normal_(0, 0.2)
    return network


@pytest.mark.parametrize("backbone", [*PUBLISHED, *(f"timm:{name}" for name in OF_TIMM)])
@torch.inference_mode()
def test_untrained_it_gives_the_same_logits_whatever_the_hint(backbone, one_thread):
    plain, hinted = pair(backbone)
    image = torch.randn(2, 3, 64, 96)
    expected = plain(image)
    assert expected.std() > 0
    for hint in (None, torch.zeros(2, 1, 64, 96), torch.ones(2, 1, 64, 96), torch.rand(2, 1, 64, 96)):
        assert torch.equal(hinted(image, hint), expected)
    given = learnt(hinted)(image, torch.rand(2, 1, 64, 96))
    assert given.isfinite().all() and not torch.allclose(given, expected)


@pytest.mark.parametrize("backbone", ["swin_v1_t", "resnet50", "timm:tf_efficientnet_lite0"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_so_it_does_folded_in_half_precision_and_in_the_layout_of_a_loaded_model(backbone, dtype, one_thread):
    plain, hinted = (
        network.fold_batch_norm_().to(dtype=dtype, memory_format=torch.channels_last) for network in pair(backbone)
    )
    image = torch.randn(1, 3, 64, 64, dtype=dtype)
    expected = plain(image)
    for hint in (None, torch.rand(1, 1, 64, 64)):  # float32, as masks are
        assert torch.equal(hinted(image, hint), expected)
    assert hinted(image, hint).dtype == dtype


@torch.inference_mode()
def test_one_half_says_nothing(one_thread):
    _, network = pair("pvt_v2_b0")
    learnt(network)
    image = torch.randn(2, 3, 64, 64)
    says_nothing = torch.full((2, 1, 64, 64), 0.5)
    assert torch.equal(network(image, says_nothing), network(image))
    one_of_two = says_nothing.clone()
    one_of_two[0] = 0
    mixed, expected = network(image, one_of_two), network(image)
    assert not torch.allclose(mixed[0], expected[0], atol=1e-4)
    torch.testing.assert_close(mixed[1], expected[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16bn", "timm:tf_efficientnet_lite0", "timm:mobileone_s0"])
@torch.inference_mode()
def test_folding_folds_the_weights_of_the_hint_too(backbone, one_thread):
    _, network = pair(backbone)
    learnt(network)
    for norm in [each for each in network.modules() if isinstance(each, torch.nn.BatchNorm2d)]:
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 1.5)
    image, hint = torch.randn(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    before = network(image, hint)
    folded = network.fold_batch_norm_()
    torch.testing.assert_close(folded(image, hint), before, atol=1e-5 * before.abs().max().item(), rtol=1e-5)


@pytest.mark.parametrize("pyramid", [True, False])
@torch.inference_mode()
def test_both_scales_see_the_hint_and_the_rest_of_the_network_does_not(pyramid, one_thread):
    plain, network = pair("swin_v1_t", image_pyramid=pyramid)
    seen = []
    for each in [each for each in network.modules() if isinstance(each, HintedConv)]:
        each.hint.register_forward_hook(lambda module, given, made: seen.append(tuple(given[0].shape)))
    network(torch.randn(1, 3, 64, 96), torch.rand(1, 1, 64, 96))
    assert seen == [(1, 1, 64, 96), (1, 1, 32, 48)][: 1 + pyramid]
    ours, theirs = (dict(each.reconstruction.named_parameters()) for each in (network, plain))
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def test_training_changes_the_weights_of_the_hint_and_then_the_hint_counts(one_thread):
    _, network = pair("pvt_v2_b0")
    network.train()
    image, hint = torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    hint[:, :, :, 32:] = 1
    optimiser = torch.optim.SGD(network.parameters(), 1e-2)
    torch.nn.functional.binary_cross_entropy_with_logits(network(image, hint).side_outputs[-1], hint).backward()
    optimiser.step()
    assert all(weight.abs().max() > 0 for weight in hint_weights(network))
    with torch.no_grad():
        network.eval()
        assert not torch.equal(network(image, hint), network(image, 1 - hint))


def test_a_hint_that_does_not_fit_is_told():
    plain, hinted = pair("pvt_v2_b0")
    image = torch.randn(2, 3, 64, 64)
    with pytest.raises(ValueError, match="takes no hint"):
        plain(image, torch.zeros(2, 1, 64, 64))
    for shape in ((1, 1, 64, 64), (2, 64, 64), (2, 1, 32, 64), (2, 3, 64, 64)):
        with pytest.raises(ValueError, match=r"expected a hint \[2, 1, 64, 64\].*got"):
            hinted(image, torch.zeros(shape))
    with pytest.raises(ValueError, match="no convolution that sees the picture"):
        from birefnet_core.network.hint import take_hints_

        take_hints_(torch.nn.Sequential(torch.nn.PixelUnshuffle(4), torch.nn.Conv2d(48, 8, 3)), "timm:tresnet_l")


@pytest.mark.slow
@torch.inference_mode()
def test_compiled_it_gives_the_same(one_thread):
    _, network = pair("pvt_v2_b0")
    learnt(network)
    image, hint = torch.randn(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    compiled = torch.compile(network, backend="aot_eager")  # what it gives is traced, but not built for minutes
    for given in ((image,), (image, hint)):
        torch.testing.assert_close(compiled(*given), network(*given), atol=1e-4, rtol=1e-4)
