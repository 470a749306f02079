"""The network in ONNX's operators computes what the network computes. (tests/matting has what runtimes make of it.)"""

import pytest
import torch

from birefnet_core.network import build_network
from birefnet_core.network.exportable import exportable
from birefnet_core.weights.published import load_published


@pytest.mark.parametrize("backbone", ["swin_v1_t", "resnet50"])
@torch.no_grad()
def test_in_plain_operators_it_gives_the_references_logits(backbone, reference):
    reference = reference(backbone)
    network = build_network(backbone)
    load_published(network, reference.weights())
    network.eval().fold_batch_norm_()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    graph = exportable(network, decompose=True)
    for case in (0, 1):
        torch.testing.assert_close(graph(reference.image(case)), reference[f"eval{case}"], atol=1e-4, rtol=0)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@torch.no_grad()
def test_windows_at_the_border_are_masked_at_every_size():
    torch.manual_seed(0)
    network = build_network("swin_v1_t").eval()
    graph = exportable(network).localization.backbone
    for sides in ((32, 32), (224, 96), (96, 480)):  # one window, several, not a multiple
        image = torch.randn(2, 3, *sides)
        for ours, theirs in zip(network.localization.backbone(image), graph(image), strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
